// The pictures side by side: one canvas a panel, with its value, colour bar and pointed pixel.

class Panel {
  // kind: ct (over time), lesion (over the CT before contrast), map
  constructor(patient, { kind, set, quantity, title }) {
    Object.assign(this, { patient, kind, set, quantity });
    const { rows, columns, header } = patient;
    this.key = kind === "map" ? `map/${set}/${quantity}` : kind === "ct" ? "series" : "ct";
    this.canvas = make("canvas", { width: columns, height: rows, tabIndex: 0 });
    this.canvas.setAttribute("role", "img");
    this.title = title;
    this.value = make("output", { className: "value" }, "-");
    this.cross = make("span", { className: "cross", hidden: true });
    this.large = make("button", { type: "button", title: "Larger or smaller" }, "+");
    this.large.setAttribute("aria-label", `Enlarge ${title}`);
    this.large.setAttribute("aria-pressed", "false");
    this.sheet = make("div", { className: "sheet" }, this.canvas, this.cross);
    this.frame = make("div", { className: "frame" }, this.sheet,
      make("span", { className: "edge left" }, header.orientation.left), make("span", { className: "edge top" }, header.orientation.top));
    this.scale = make("div", { className: "scale" });
    this.element = make("figure", { className: "panel", data: { kind, set: String(set), quantity: quantity || "" } },
      make("header", {}, make("b", { title }, title), this.value, this.large), this.frame, this.scale);
    this.large.addEventListener("click", () => {
      const large = this.element.classList.toggle("large");
      this.large.textContent = large ? "-" : "+";
      this.large.setAttribute("aria-pressed", String(large));
    });
    this.image = new ImageData(columns, rows);
    this.words = new Uint32Array(this.image.data.buffer);
    if (kind === "ct") {
      this.small = make("canvas", { width: patient.small[1], height: patient.small[0] });
      this.smallImage = new ImageData(patient.small[1], patient.small[0]);
    }
  }

  // the head alone, or the whole image
  crop(whole) {
    const { rows, columns, header } = this.patient;
    const [top, left, height, width] = whole ? [0, 0, rows, columns] : header.head;
    this.frame.style.aspectRatio = `${width * header.spacing_mm[2]} / ${height * header.spacing_mm[1]}`;
    Object.assign(this.sheet.style, { width: `${(100 * columns) / width}%`, height: `${(100 * rows) / height}%`,
      left: `${(-100 * left) / width}%`, top: `${(-100 * top) / height}%` });
  }

  range(state) {
    if (this.kind !== "map") return [state.level - state.width / 2, state.level + state.width / 2];
    const q = this.patient.header.quantities[this.quantity];
    return [q.low, q.high];
  }

  unit() { return this.kind === "map" ? this.patient.header.quantities[this.quantity].unit : "HU"; }

  drawBar(state, table) {
    const [low, high] = this.range(state);
    const bar = make("canvas", { width: 256, height: 1 });
    const image = new ImageData(256, 1);
    new Uint32Array(image.data.buffer).set(this.kind === "map" ? table : Array.from({ length: 256 }, (_, i) => packed(i, i, i)));
    bar.getContext("2d").putImageData(image, 0, 0);
    this.tick = make("i", { hidden: true });
    this.scale.replaceChildren(make("span", {}, String(+low.toFixed(2))), make("span", { className: "bar" }, bar, this.tick),
      make("span", {}, `${+high.toFixed(2)} ${this.unit()}`));
  }

  draw(state, table) {
    const { patient } = this, context = this.canvas.getContext("2d"), [low, high] = this.range(state);
    const layer = patient.layers[this.key];
    if (!layer) { context.clearRect(0, 0, patient.columns, patient.rows); return; }
    const at = state.z * patient.pixels, marks = patient.layers[`lesion/${this.set}`];
    if (this.kind === "ct") {
      const words = new Uint32Array(this.smallImage.data.buffer);
      paintGrey(words, layer, patient.frameStart(state.z, state.t), patient.header.steps.series, low, high);
      this.small.getContext("2d").putImageData(this.smallImage, 0, 0);
      context.drawImage(this.small, 0, 0, patient.columns, patient.rows);
    } else {
      if (this.kind === "lesion") {
        paintGrey(this.words, layer, at, patient.header.steps.ct, low, high);
        if (marks) tintLesions(this.words, marks, at, state.core, state.penumbra);
      } else {
        paintMap(this.words, layer, at, patient.header.steps[this.key], low, high, table);
        if (marks && state.outlines) outlineLesions(this.words, marks, at, patient.columns, state.core, state.penumbra);
      }
      context.putImageData(this.image, 0, 0);
    }
    if (this.kind === "ct" && state.vessels) {
      const radius = Math.max(2, patient.columns / 85);
      for (const [name, color] of [["aif", "#ff5252"], ["vof", "#4f9dff"]])
        for (const [y, x] of patient.vessel(name, state.z)) ring(context, x + 0.5, y + 0.5, radius, color);
    }
    this.canvas.setAttribute("aria-label", `${this.title}, slice ${patient.header.slices[state.z] + 1}`);
  }

  // value of the pointed pixel as text, physical
  tell(state) {
    const { patient } = this, { z, y, x } = state;
    const known = y !== null;
    let value = null, text = "-";
    if (known && this.kind === "ct") {
      const curve = patient.hu(z, y, x);
      value = curve && curve[state.t];
      if (value !== null) text = `${value.toFixed(1)} HU`;
    } else if (known) {
      value = patient.value(this.key, z, y, x);
      if (value !== null && this.kind === "map") {
        text = `${value.toFixed(patient.header.quantities[this.quantity].decimals)}`;
      } else if (value !== null) {
        text = [`${value.toFixed(0)} HU`, "penumbra", "core"][patient.mark(this.set, z, y, x)];
      }
    }
    this.value.textContent = text;
    const [low, high] = this.range(state);
    this.tick.hidden = value === null;
    this.tick.style.left = `${100 * Math.min(1, Math.max(0, (value - low) / (high - low)))}%`;
    this.cross.hidden = !known;
    this.cross.style.left = `${(100 * (x + 0.5)) / patient.columns}%`;
    this.cross.style.top = `${(100 * (y + 0.5)) / patient.rows}%`;
  }

  // the pixel under a pointer
  place(event) {
    const box = this.canvas.getBoundingClientRect();
    const inside = (value, n) => Math.min(n - 1, Math.max(0, Math.floor(value * n)));
    return [inside((event.clientY - box.top) / box.height, this.patient.rows),
      inside((event.clientX - box.left) / box.width, this.patient.columns)];
  }
}
