// The controls, and what each changes.

const byId = (id) => document.getElementById(id);
const headers = [...document.querySelectorAll("script.patient")].map((e) => JSON.parse(e.textContent));
const table = colorTable(JSON.parse(byId("luts").textContent));
const state = { z: 0, t: 0, y: null, x: null, held: null, set: 0, view: "maps", level: 40, width: 80,
  core: true, penumbra: true, outlines: false, vessels: true, whole: false };
let patient = null, panels = [], toTime = null, drawMotion = () => {}, timer = null, queued = false;

function panelsOf(header) {
  const set = header.sets[state.set], lesion = (i) => ({ kind: "lesion", set: i, title: "Lesion" });
  const ct = { kind: "ct", set: state.set, title: "CT over time" };
  if (state.view === "maps") {
    const order = ["cbf", "cbv", "mtt", "tmax", "ttp", "cth", "oefmax", "rel_cbf"].filter((q) => set.maps.includes(q));
    return [lesion(state.set), ct, ...order.map((quantity) => ({ kind: "map", set: state.set, quantity, title: header.quantities[quantity].label }))];
  }
  const all = header.sets.map((one, i) => [one, i]);
  if (state.view === "lesions")
    return [ct, ...all.filter(([one]) => one.lesion).map(([one, i]) => ({ ...lesion(i), title: one.label }))];
  const q = header.quantities[state.view];
  return [ct, ...all.filter(([one]) => one.maps.includes(state.view))
    .map(([one, i]) => ({ kind: "map", set: i, quantity: state.view, title: `${one.label}: ${q.label}` }))];
}

function build() {
  panels = panelsOf(patient.header).map((what) => new Panel(patient, what));
  byId("panels").replaceChildren(...panels.map((panel) => panel.element));
  for (const panel of panels) {
    panel.drawBar(state, table);
    panel.crop(state.whole);
    const { canvas } = panel;
    canvas.addEventListener("pointermove", (event) => { if (!state.held) point(...panel.place(event)); });
    canvas.addEventListener("click", (event) => { state.held = panel.place(event); point(...state.held); });
    canvas.addEventListener("keydown", onKey);
    canvas.addEventListener("wheel", (event) => {
      if (document.activeElement !== canvas) return; // a page must scroll; a clicked image turns slices
      event.preventDefault();
      go("slice", Math.sign(event.deltaY));
    }, { passive: false });
  }
  byId("tiles").replaceChildren(...tilesOf(patient.header, state.set));
  byId("numbers-tables").replaceChildren(...[lesionTable(patient.header), valueTable(patient.header, patient.header.sets[state.set])].filter((one) => one));
  refresh();
}

function point(y, x) { state.y = y; state.x = x; tell(); }

function onKey(event) {
  const by = event.shiftKey ? 10 : 1;
  const moves = { ArrowLeft: [0, -by], ArrowRight: [0, by], ArrowUp: [-by, 0], ArrowDown: [by, 0] };
  const turns = { PageUp: ["slice", 1], PageDown: ["slice", -1], ",": ["time", -1], ".": ["time", 1] };
  if (event.key === "Escape") { state.held = null; return; }
  if (!moves[event.key] && !turns[event.key]) return;
  event.preventDefault();
  if (turns[event.key]) { go(...turns[event.key]); return; }
  const [dy, dx] = moves[event.key], within = (v, n) => Math.min(n - 1, Math.max(0, v));
  const from = state.y === null ? [patient.rows >> 1, patient.columns >> 1] : [state.y, state.x];
  state.held = [within(from[0] + dy, patient.rows), within(from[1] + dx, patient.columns)];
  point(...state.held);
}

function go(slider, by) {
  const input = byId(slider);
  input.value = Number(input.value) + by;
  input.dispatchEvent(new Event("input"));
}

// all pictures, at most once a frame of the screen
function refresh() {
  if (queued) return;
  queued = true;
  requestAnimationFrame(() => {
    queued = false;
    for (const panel of panels) panel.draw(state, table);
    tell();
  });
}

function tell() {
  if (!patient) return;
  const { header } = patient, { z, t } = state, times = header.times_s[z];
  byId("slice-told").textContent = `${header.slices[z] + 1} of ${header.slices_in_all}`;
  byId("slice").setAttribute("aria-valuetext", `slice ${header.slices[z] + 1} of ${header.slices_in_all}`);
  byId("time-told").textContent = `${times[t].toFixed(1)} s (${t + 1}/${times.length})`;
  byId("time").setAttribute("aria-valuetext", `${times[t].toFixed(1)} seconds, frame ${t + 1} of ${times.length}`);
  byId("level-told").textContent = `${state.level} HU`;
  byId("width-told").textContent = `${state.width} HU`;
  for (const panel of panels) panel.tell(state);
  drawCurve();
}

function drawCurve() {
  const { header } = patient, { z, y, x, t } = state, lines = [], words = [];
  const hu = y === null ? null : patient.hu(z, y, x);
  if (hu) {
    const before = hu.slice(0, header.n_baseline).reduce((a, b) => a + b, 0) / header.n_baseline;
    lines.push({ x: header.times_s[z], y: hu.map((v) => v - before), color: "#ffd23e", width: 2 });
    words.push(["pixel (left axis)", "#ffd23e"]);
  }
  for (const [name, label, color] of [["aif", "AIF, artery", "#ff5252"], ["vof", "VOF, vein", "#4f9dff"]]) {
    const found = header.curves[name];
    if (!found) continue;
    lines.push({ x: found.times_s, y: found.curve_hu, color, right: hu !== null });
    words.push([`${label}${hu ? " (right axis)" : ""}`, color]);
  }
  byId("curve-legend").replaceChildren(...words.map(([text, color]) => {
    const word = make("span", {}, text);
    word.style.setProperty("--c", color);
    return word;
  }));
  const canvas = byId("curve");
  toTime = lines.length ? plot(canvas, { lines, xlabel: "time [s]", ylabel: hu ? "pixel [HU]" : "enhancement [HU]",
    rlabel: "vessels [HU]", cursor: header.times_s[z][t], least: 4 }) : null;
  const source = header.curves.aif && header.curves.aif.source;
  if (y === null) {
    byId("where").textContent = `Point at an image.${source ? ` Vessels ${source}.` : ""}`;
    return;
  }
  const [row, column] = patient.turned(y, x), [rows, columns] = header.series.shape;
  byId("where").textContent = `Voxel ${column},${row},${header.slices[z]} (x,y,z from 0, as --aif takes it). ` +
    `The curve is that of the ${rows} x ${columns} cell around it, over its pre-contrast mean.${source ? ` Vessels ${source}.` : ""}`;
}

function choices(select, options) {
  select.replaceChildren(...options.map(([value, text]) => make("option", { value }, text)));
}

function fill(header) {
  choices(byId("set"), header.sets.map((set, i) => [String(i), set.label]));
  byId("set-choice").hidden = header.sets.length < 2;
  const several = header.sets.length > 1 ? Object.entries(header.quantities).map(([name, q]) => [name, `${q.label} of all sets`]) : [];
  if (header.sets.filter((set) => set.lesion).length > 1) several.push(["lesions", "Core and penumbra of all sets"]);
  choices(byId("view"), [["maps", "All maps"], ...several]);
  byId("view").parentElement.hidden = !several.length;
  byId("slice").max = header.shape[0] - 1;
  byId("time").max = header.series.frames - 1;
  byId("quality-table").replaceChildren(...[warningList(header.warnings), qualityTable(header.quality)].filter((one) => one));
  byId("settings").replaceChildren(...header.settings.flatMap(([name, value]) => [make("dt", {}, name), make("dd", {}, value)]));
  byId("rounding").textContent = roundingText(header);
  drawMotion = motionPlots(header.motion, byId("motion-plots"));
  drawMotion();
}

// the slice with most lesion and a pixel in the midst of it; without a lesion things stay where they are
function showLesion() {
  const marks = patient.layers["lesion/0"];
  let most = 0;
  for (let z = 0; z < patient.slices; z++) {
    const found = [];
    for (let i = 0; i < patient.pixels; i++) if (marks[z * patient.pixels + i]) found.push(i);
    if (found.length <= most) continue;
    most = found.length;
    const middle = found[most >> 1]; // of its middle row, by area
    Object.assign(state, { z, y: Math.floor(middle / patient.columns), x: middle % patient.columns });
  }
  byId("slice").value = state.z;
}

async function open(number) {
  if (patient) patient.close();
  delete document.documentElement.dataset.ready;
  const mine = patient = new Patient(number, headers[number]);
  Object.assign(state, { y: null, x: null, held: null, set: 0, view: "maps", z: mine.slices >> 1, t: 0 });
  fill(mine.header);
  byId("slice").value = state.z;
  byId("time").value = state.t;
  build();
  byId("status").textContent = "opening ...";
  await mine.open((key) => {
    if (key === "lesion/0") showLesion();
    refresh();
  });
  if (mine.closed) return;
  byId("status").textContent = "";
  requestAnimationFrame(() => { document.documentElement.dataset.ready = String(number); });
}

function listen(id, event, action) { byId(id).addEventListener(event, (e) => { action(e.target); }); }

function windowChanged() {
  for (const panel of panels) panel.drawBar(state, table);
  refresh();
}

function connect() {
  listen("patient", "change", (input) => openSafely(Number(input.value)));
  listen("set", "change", (input) => { state.set = Number(input.value); build(); });
  listen("view", "change", (input) => { state.view = input.value; build(); });
  listen("slice", "input", (input) => { state.z = Number(input.value); refresh(); });
  listen("time", "input", (input) => { state.t = Number(input.value); refresh(); });
  listen("preset", "change", (input) => {
    if (!input.value) return;
    [state.level, state.width] = input.value.split(",").map(Number);
    byId("level").value = state.level;
    byId("width").value = state.width;
    windowChanged();
  });
  for (const name of ["level", "width"])
    listen(name, "input", (input) => { state[name] = Number(input.value); byId("preset").value = ""; windowChanged(); });
  for (const name of ["core", "penumbra", "outlines", "vessels"])
    listen(`show-${name}`, "change", (input) => { state[name] = input.checked; refresh(); });
  listen("show-whole", "change", (input) => { state.whole = input.checked; for (const panel of panels) panel.crop(state.whole); });
  byId("curve").addEventListener("click", (event) => {
    if (!toTime) return;
    const wanted = toTime(event.offsetX), times = patient.header.times_s[state.z];
    state.t = times.reduce((best, t, i) => (Math.abs(t - wanted) < Math.abs(times[best] - wanted) ? i : best), 0);
    byId("time").value = state.t;
    refresh();
  });
  byId("curve").addEventListener("keydown", (event) => {
    const by = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (by) { event.preventDefault(); go("time", by); }
  });
  listen("play", "click", (button) => {
    timer = timer ? clearInterval(timer) : setInterval(() => {
      if (state.t + 1 < patient.header.series.frames) go("time", 1);
      else { byId("time").value = 0; go("time", 0); }
    }, 150);
    button.textContent = timer ? "Stop" : "Play";
    button.setAttribute("aria-pressed", String(Boolean(timer)));
  });
  window.addEventListener("resize", () => { if (patient) { drawMotion(); tell(); } });
}

function openSafely(number) {
  open(number).catch((error) => {
    byId("trouble").hidden = false;
    byId("trouble").textContent = `The images could not be opened (${error.message}). The viewer needs Chrome or Edge 103, Firefox 113, Safari 16.4 or newer.`;
  });
}

choices(byId("patient"), headers.map((header, i) => [String(i), header.name]));
byId("patient-choice").hidden = headers.length < 2;
connect();
openSafely(0);
