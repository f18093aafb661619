// Numbers to pixels: grey CT, colour maps, lesions over either.

const CORE = [255, 64, 220], PENUMBRA = [60, 210, 90];

function packed(r, g, b) { return (255 << 24) | (b << 16) | (g << 8) | r; }

function colorTable(rgb) { return Uint32Array.from(rgb, (c) => packed(c[0], c[1], c[2])); }

function paintGrey(pixels, values, at, step, low, high) {
  const scale = 255 / (high - low);
  for (let i = 0; i < pixels.length; i++) {
    const v = values[at + i] === MISSING ? 0 : (values[at + i] * step - low) * scale;
    const g = v <= 0 ? 0 : v >= 255 ? 255 : Math.round(v);
    pixels[i] = packed(g, g, g);
  }
}

function paintMap(pixels, values, at, step, low, high, table) {
  const last = table.length - 1, scale = last / (high - low), black = packed(0, 0, 0);
  for (let i = 0; i < pixels.length; i++) {
    const v = values[at + i];
    if (v === MISSING) { pixels[i] = black; continue; }
    const index = Math.round((v * step - low) * scale);
    pixels[i] = table[index < 0 ? 0 : index > last ? last : index];
  }
}

// marks: 1 penumbra, 2 core
function tintLesions(pixels, marks, at, core, penumbra) {
  for (let i = 0; i < pixels.length; i++) {
    const mark = marks[at + i];
    const color = mark === 2 && core ? CORE : mark === 1 && penumbra ? PENUMBRA : null;
    if (!color) continue;
    const g = 0.35 * (pixels[i] & 255);
    pixels[i] = packed(Math.round(g + 0.65 * color[0]), Math.round(g + 0.65 * color[1]), Math.round(g + 0.65 * color[2]));
  }
}

function outlineLesions(pixels, marks, at, columns, core, penumbra) {
  const rows = pixels.length / columns;
  for (let y = 0; y < rows; y++) {
    for (let x = 0; x < columns; x++) {
      const i = y * columns + x, mark = marks[at + i];
      if (!(mark === 2 && core) && !(mark === 1 && penumbra)) continue;
      const inner = x > 0 && y > 0 && x < columns - 1 && y < rows - 1 && marks[at + i - 1] === mark &&
        marks[at + i + 1] === mark && marks[at + i - columns] === mark && marks[at + i + columns] === mark;
      if (!inner) pixels[i] = packed(...(mark === 2 ? CORE : PENUMBRA));
    }
  }
}

function ring(context, x, y, radius, color) {
  context.beginPath();
  context.arc(x, y, radius, 0, 2 * Math.PI);
  context.lineWidth = radius / 3;
  context.strokeStyle = color;
  context.stroke();
}
