// Lines over time on a canvas: one axis on the left, one on the right when asked for.

const INK = "#c9ced6", FAINT = "#343a44";

function niceTicks(low, high, about) {
  const rough = (high - low) / about || 1;
  const power = Math.pow(10, Math.floor(Math.log10(rough)));
  const step = power * [1, 2, 5, 10].find((f) => f * power >= rough * 0.999);
  const ticks = [];
  for (let k = Math.ceil(low / step - 1e-9); k * step <= high + 1e-9 * step; k++) ticks.push(k * step);
  return { ticks, decimals: Math.max(0, -Math.floor(Math.log10(step) + 1e-9)) };
}

function span(lines, pick) {
  let low = Infinity, high = -Infinity;
  for (const line of lines) for (const v of pick(line)) { low = Math.min(low, v); high = Math.max(high, v); }
  return low > high ? [0, 1] : [low, high];
}

function padded([low, high], least) {
  const gap = Math.max((high - low) * 0.06, (least - (high - low)) / 2, 1e-9);
  return [low - gap, high + gap];
}

// lines: {x, y, color, right}; returns the function from a place on the canvas [px] to x
function plot(canvas, { lines, xlabel, ylabel, rlabel, cursor, least }) {
  const ratio = window.devicePixelRatio || 1, w = canvas.clientWidth, h = canvas.clientHeight;
  canvas.width = Math.round(w * ratio);
  canvas.height = Math.round(h * ratio);
  const c = canvas.getContext("2d");
  c.scale(ratio, ratio);
  c.font = "11px system-ui, sans-serif";
  const left = lines.filter((l) => !l.right), right = lines.filter((l) => l.right);
  const box = { l: 44, t: 18, r: w - (right.length ? 40 : 10), b: h - 32 };
  const [x0, x1] = span(lines, (l) => l.x);
  const toX = (v) => box.l + ((v - x0) / (x1 - x0 || 1)) * (box.r - box.l);
  const scaleOf = (some) => {
    const [y0, y1] = padded(span(some, (l) => l.y), least || 0);
    return { y0, y1, to: (v) => box.b - ((v - y0) / (y1 - y0)) * (box.b - box.t) };
  };
  const axes = [[scaleOf(left), left, box.l, "right", -5, ylabel], [scaleOf(right), right, box.r, "left", 5, rlabel]];
  c.fillStyle = INK;
  c.lineWidth = 1;
  const bottom = niceTicks(x0, x1, Math.max(2, (box.r - box.l) / 55));
  c.textAlign = "center";
  for (const v of bottom.ticks) c.fillText(v.toFixed(bottom.decimals), toX(v), box.b + 13);
  c.fillText(xlabel, (box.l + box.r) / 2, h - 5);
  for (const [scale, some, at, align, gap, label] of axes) {
    if (!some.length) continue;
    const { ticks, decimals } = niceTicks(scale.y0, scale.y1, 5);
    c.textAlign = align;
    for (const v of ticks) {
      c.fillText(v.toFixed(decimals), at + gap, scale.to(v) + 4);
      if (at === box.l) { c.strokeStyle = FAINT; c.strokeRect(box.l, Math.round(scale.to(v)) + 0.5, box.r - box.l, 0); }
    }
    c.textAlign = at === box.l ? "left" : "right";
    c.fillText(label || "", at === box.l ? 4 : w - 4, 11);
  }
  for (const [scale, some] of axes) {
    for (const line of some) {
      c.strokeStyle = line.color;
      c.lineWidth = line.width || 1.5;
      c.beginPath();
      line.y.forEach((v, i) => c.lineTo(toX(line.x[i]), scale.to(v)));
      c.stroke();
    }
  }
  if (cursor !== undefined) {
    c.strokeStyle = "#fff";
    c.lineWidth = 1;
    c.strokeRect(Math.round(toX(cursor)) + 0.5, box.t, 0, box.b - box.t);
  }
  return (px) => x0 + ((px - box.l) / (box.r - box.l)) * (x1 - x0);
}
