// Embedded text to arrays: base64, inflate, byte planes, zigzag, running sums.

const MISSING = -32768; // a voxel without a value

function bytesOf(text) {
  if (Uint8Array.fromBase64) return Uint8Array.fromBase64(text);
  const raw = atob(text);
  const bytes = new Uint8Array(raw.length);
  for (let i = 0; i < raw.length; i++) bytes[i] = raw.charCodeAt(i);
  return bytes;
}

async function inflate(bytes) {
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
  const reader = stream.getReader();
  const parts = [];
  let size = 0;
  for (let part = await reader.read(); !part.done; part = await reader.read()) {
    parts.push(part.value);
    size += part.value.length;
  }
  const whole = new Uint8Array(size);
  let at = 0;
  for (const part of parts) { whole.set(part, at); at += part.length; }
  return whole;
}

function numbersOf(bytes, shape, axis) {
  const size = bytes.length / 2;
  const out = new Int16Array(size); // additions wrap as they must
  const stride = shape.slice(axis + 1).reduce((a, b) => a * b, 1);
  const run = stride * shape[axis];
  for (let start = 0; start < size; start += run) {
    for (let i = start; i < start + run; i++) {
      const code = bytes[i] | (bytes[size + i] << 8);
      const change = (code >>> 1) ^ -(code & 1);
      out[i] = i < start + stride ? change : out[i - stride] + change;
    }
  }
  return out;
}

async function unpack(element, shape, axis) {
  return numbersOf(await inflate(bytesOf(element.textContent)), shape, axis);
}
