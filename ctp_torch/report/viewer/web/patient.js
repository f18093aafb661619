// One patient: its header and the arrays unpacked so far; values by place.

class Patient {
  constructor(number, header) {
    this.number = number;
    this.header = header;
    this.layers = {};
    [this.slices, this.rows, this.columns] = header.shape;
    this.small = header.series.shape;
    this.pixels = this.rows * this.columns;
  }

  // the arrays one after the other, those seen first first; closed patients stop
  async open(onLayer) {
    const rank = (key) => ["ct", "map/0", "lesion/0", "series"].findIndex((start) => key.startsWith(start)) + 9 * !/^(ct|map\/0|lesion\/0|series)/.test(key);
    const keys = Object.keys(this.header.steps).sort((a, b) => rank(a) - rank(b));
    for (const key of keys) {
      const shape = key === "series" ? [this.header.series.frames, ...this.small] : [1, this.rows, this.columns];
      const layer = await unpack(document.getElementById(`p${this.number}/${key}`), this.header.lengths[key], shape);
      if (this.closed) return;
      this.layers[key] = layer;
      onLayer(key);
    }
  }

  close() { this.closed = true; this.layers = {}; }

  at(z, y, x) { return (z * this.rows + y) * this.columns + x; }

  // physical value or null
  value(key, z, y, x) {
    const layer = this.layers[key];
    if (!layer) return null;
    const whole = layer[this.at(z, y, x)];
    return whole === MISSING ? null : whole * this.header.steps[key];
  }

  mark(set, z, y, x) { const layer = this.layers[`lesion/${set}`]; return layer ? layer[this.at(z, y, x)] : 0; }

  // the cell of the small images that a pixel lies in
  cell(y, x) {
    return [Math.floor(((y + 0.5) * this.small[0]) / this.rows), Math.floor(((x + 0.5) * this.small[1]) / this.columns)];
  }

  frameStart(z, t) { return (z * this.header.series.frames + t) * this.small[0] * this.small[1]; }

  // Hounsfield units of a cell over time
  hu(z, y, x) {
    const series = this.layers.series;
    if (!series) return null;
    const [row, column] = this.cell(y, x), step = this.header.steps.series;
    const at = row * this.small[1] + column;
    return Array.from({ length: this.header.series.frames }, (_, t) => series[this.frameStart(z, t) + at] * step);
  }

  // between shown and stored columns and rows
  turned(y, x) {
    const o = this.header.orientation;
    return [o.flip_y ? this.rows - 1 - y : y, o.flip_x ? this.columns - 1 - x : x];
  }

  // voxels of a vessel in a shown slice, as shown
  vessel(name, z) {
    const found = this.header.curves[name], slice = this.header.slices[z];
    return found ? found.voxels_xyz.filter((v) => v[2] === slice).map(([x, y]) => this.turned(y, x)) : [];
  }
}
