// Margin against step, a line a restart, growing while the attack runs; a slider replays it step by step.
import { bottomAxis, html, label, leftAxis, picture, scale, signed, svg } from "./common.js";

const LEFT = 56, RIGHT = 16, TOP = 40, BOTTOM = 44;

function path(values, x, y, upTo) {
  let out = "", open = false;
  for (let s = 0; s <= upTo && s < values.length; s += 1) {
    if (values[s] === null) { open = false; continue; }
    out += `${open ? "L" : "M"}${x(s).toFixed(1)},${y(values[s]).toFixed(1)}`;
    open = true;
  }
  return out;
}

export default picture((model, data, frame) => {
  const { width, height } = frame, last = Math.max(data.last, 1), end = data.done ? last : data.steps;
  const x = scale(0, end, LEFT, width - RIGHT), y = scale(data.limits[0], data.limits[1], height - BOTTOM, TOP);
  const restarts = data.margins[0].length;
  const lines = svg("g");
  const dot = svg("circle", { r: 5, class: "nb-dot" });
  const words = label(width - RIGHT, 34, "", { "text-anchor": "end", class: "nb-text nb-faint" });
  function show(step) {
    lines.replaceChildren();
    for (let r = 0; r < restarts; r += 1) {
      const values = data.margins.map((row) => row[r]), crossed = data.crossed[r] >= 0 && data.crossed[r] <= step;
      lines.append(svg("path", { d: path(values, x, y, step), class: crossed ? "nb-line nb-loud" : "nb-line", "data-restart": r,
        "data-tip": `restart ${r + 1}: ${signed(values[Math.min(step, data.last)])} at step ${Math.min(step, data.last)}` }));
    }
    lines.append(svg("path", { d: path(data.best, x, y, step), class: "nb-best" }));
    const at = Math.min(step, data.last);
    dot.setAttribute("cx", x(at));
    dot.setAttribute("cy", y(data.best[at]));
    words.textContent = `step ${at}: lowest ${signed(data.best[at])}`;
    lines.dataset.step = at;
  }
  const drawn = svg("svg", { viewBox: `0 0 ${width} ${height}`, width: "100%", class: "nb-svg" }, [
    label(8, 18, data.title, { class: "nb-text nb-title" }), words,
    svg("rect", { x: LEFT, y: y(0), width: width - LEFT - RIGHT, height: Math.max(0, height - BOTTOM - y(0)), class: "nb-breach" }),
    leftAxis(y, data.limits[0], data.limits[1], LEFT, width - RIGHT, "margin, logits"),
    bottomAxis(x, 0, end, height - BOTTOM, TOP, "step of PGD"),
    svg("line", { x1: LEFT, x2: width - RIGHT, y1: y(0), y2: y(0), class: "nb-zero" }), lines, dot,
  ]);
  const slider = html("input", { type: "range", min: 0, max: data.last, value: data.last, class: "nb-slider",
    "aria-label": "step of the replay" });
  slider.addEventListener("input", () => show(Number(slider.value)));
  show(data.last);
  return data.done ? [drawn, slider] : [drawn];
});
