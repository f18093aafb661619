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

// a slice [frames, rows, columns]: differences over time where there are several frames, else along rows and columns
function numbersInto(out, bytes, [frames, rows, columns]) {
  const size = bytes.length / 2; // low bytes, then high bytes; additions wrap in 16 bits as they must
  const back = frames > 1 ? rows * columns : columns;
  let along = 0;
  for (let i = 0; i < size; i++) {
    const code = bytes[i] | (bytes[size + i] << 8);
    const change = (code >>> 1) ^ -(code & 1);
    along = frames > 1 || i % columns === 0 ? change : along + change;
    out[i] = i < back ? along : out[i - back] + along;
  }
}

// a stack of slices, each deflated by itself
async function unpack(element, lengths, shape) {
  const bytes = bytesOf(element.textContent), size = shape[0] * shape[1] * shape[2];
  const out = new Int16Array(lengths.length * size);
  let at = 0;
  for (let z = 0; z < lengths.length; z++) {
    const raw = await inflate(bytes.subarray(at, at + lengths[z]));
    numbersInto(out.subarray(z * size, (z + 1) * size), raw, shape);
    at += lengths[z];
  }
  return out;
}
