// The words and numbers under the viewer.

function make(tag, properties, ...children) {
  const { data, ...plain } = properties || {};
  const element = Object.assign(document.createElement(tag), plain);
  Object.assign(element.dataset, data || {});
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

function number(value, decimals) {
  return value === null || value === undefined || !Number.isFinite(value) ? "-" : value.toFixed(decimals);
}

function tableOf(caption, header, rows, words) {
  const cell = (tag) => (value) => value instanceof Node ? value : make(tag, tag === "th" ? { scope: "col" } : {}, String(value));
  const table = make("table", { className: words ? "words" : "" }, make("caption", {}, caption),
    make("thead", {}, make("tr", {}, ...header.map(cell("th")))),
    make("tbody", {}, ...rows.map((row) => make("tr", {}, ...row.map(cell("td"))))));
  const box = make("div", { className: "scroll", tabIndex: 0 }, table);
  box.setAttribute("role", "group");
  box.setAttribute("aria-label", caption);
  return box;
}

function rangeOf(lesion, key) {
  const ends = (lesion.intervals_ml || {})[key];
  return ends ? ` (${number(ends[0], 0)}..${number(ends[1], 0)})` : "";
}

function lesionTable(header) {
  const lines = [["core [mL]", "core_ml", 1], ["penumbra [mL]", "penumbra_ml", 1], ["hypoperfusion [mL]", "hypoperfusion_ml", 1],
    ["severe hypoperfusion [mL]", "severe_hypoperfusion_ml", 1], ["mismatch ratio", "mismatch_ratio", 2],
    ["hypoperfusion intensity ratio", "hypoperfusion_intensity_ratio", 2], ["CBV index", "cbv_index", 2],
    ["normal CBF [mL/100 g/min]", "reference_cbf", 1]];
  const sets = header.sets.filter((set) => set.lesion);
  if (!sets.length) return null;
  const rows = lines.map(([label, key, decimals]) => [label, ...sets.map((set) => number(set.lesion[key], decimals) + rangeOf(set.lesion, key))]);
  rows.push(["side", ...sets.map((set) => set.lesion.side)]);
  rows.push(["core", ...sets.map((set) => set.lesion.core_rule)]);
  rows.push(["hypoperfusion", ...sets.map((set) => set.lesion.late_rule)]);
  rows.push(["by", ...sets.map((set) => set.lesion.rules)]);
  if (sets.some((set) => "conventional_core_ml" in set.lesion)) {
    for (const part of ["core", "penumbra", "hypoperfusion"])
      rows.push([`${part} by conventional thresholds [mL]`, ...sets.map((set) => number(set.lesion[`conventional_${part}_ml`], 1))]);
    rows.push(["conventional core", ...sets.map((set) => set.lesion.conventional_core_rule || "-")]);
    rows.push(["conventional hypoperfusion", ...sets.map((set) => set.lesion.conventional_late_rule || "-")]);
  }
  return tableOf("Core and penumbra", ["", ...sets.map((set) => set.label)], rows);
}

function valueTable(header, set) {
  return tableOf(`Maps in numbers: ${set.label}`, ["map", "region", "voxels", "mean", "sd", "median"],
    set.values.map((row) => {
      const q = header.quantities[row.map];
      return [`${q.label} [${q.unit}]`, row.region, row.voxels, number(row.mean, 2), number(row.sd, 2), number(row.median, 2)];
    }));
}

function qualityTable(checks) {
  if (!checks) return make("p", { className: "small" }, "Quality was not looked at.");
  return tableOf("Quality control", ["flag", "result", "measured (limit)"], checks.map((check) =>
    [`${check.flag} ${check.name}`, make("td", { className: check.result === "flagged" ? "bad" : "" }, check.result),
      check.message.replace(/^[^:]*: /, "")]), true);
}

function tilesOf(header, set) {
  const lesion = header.sets[set].lesion, checks = header.quality;
  const tile = (kind, title, value, more) => make("div", { className: `tile ${kind}`, data: { tile: kind } },
    make("span", {}, title), make("b", {}, value), make("span", {}, more));
  const none = header.sets[set].no_volumes;
  const borrowed = (part) => "conventional_core_ml" in lesion ? ` (${number(lesion[`conventional_${part}_ml`], 1)} mL by conventional thresholds)` : "";
  const raised = (checks || []).filter((check) => check.result === "flagged");
  return [
    tile("core", "Core", lesion ? `${number(lesion.core_ml, 1)}${rangeOf(lesion, "core_ml")} mL` : "-", lesion ? lesion.core_rule + borrowed("core") : none),
    tile("penumbra", "Penumbra", lesion ? `${number(lesion.penumbra_ml, 1)} mL` : "-", lesion ? lesion.late_rule + borrowed("penumbra") : none),
    tile("ratio", "Mismatch", lesion ? number(lesion.mismatch_ratio, 1) : "-", lesion ? `of ${number(lesion.hypoperfusion_ml, 0)} mL late` : "not measured"),
    tile(!checks ? "unseen" : raised.length ? "bad" : "good", "Quality", !checks ? "-" : raised.length ? `${raised.length} flagged` : "passed",
      !checks ? "not looked at" : raised.length ? raised.map((check) => check.flag).join(", ") : "no flags"),
  ];
}

function warningList(warnings) {
  return warnings.length ? make("ul", { className: "warnings" }, ...warnings.map((line) => make("li", {}, line))) : null;
}

function roundingText(header) {
  const [rows, columns] = header.series.shape;
  const full = `${header.shape[1]} x ${header.shape[2]}`;
  const steps = Object.values(header.quantities).map((q) => `${q.label} ${q.step} ${q.unit}`).join(", ");
  const fewer = header.slices.length < header.slices_in_all
    ? ` To keep the page small, ${header.slices.length} of ${header.slices_in_all} slices are shown.` : "";
  return `Maps and the CT before contrast are shown at full resolution (${full}); the time series is reduced to ${rows} x ${columns} by averaging. ` +
    `Values are rounded to: ${steps}, CT ${header.steps.ct} HU, time series ${header.steps.series} HU; ` +
    `CT values below ${header.series.floor_hu} HU are shown as that. The volumes and tables come from unrounded maps; the files beside this page hold them.${fewer}`;
}

function motionPlots(motion, box) {
  box.replaceChildren();
  if (!motion) { box.append(make("p", { className: "small" }, "Motion was not measured.")); return () => {}; }
  const colors = ["#ff7b72", "#7ee787", "#79c0ff"], names = ["x (left)", "y (back)", "z (up)"];
  const parts = [["rotation_deg", "rotation [degree]"], ["translation_mm", "translation [mm]"]];
  const canvases = parts.map(([key, label]) => {
    const canvas = make("canvas", {});
    const most = Math.max(...motion[key].flat().map(Math.abs)).toFixed(2);
    canvas.setAttribute("role", "img");
    canvas.setAttribute("aria-label", `Motion over time: ${label}, at most ${most}`);
    box.append(make("div", {}, make("p", { className: "legend" }, ...names.map((name, i) => {
      const word = make("span", {}, name);
      word.style.setProperty("--c", colors[i]);
      return word;
    })), canvas));
    return canvas;
  });
  return () => parts.forEach(([key, label], i) => plot(canvases[i], {
    lines: colors.map((color, axis) => ({ x: motion.times_s, y: motion[key].map((row) => row[axis]), color })),
    xlabel: "time [s]", ylabel: label, least: 1 }));
}
