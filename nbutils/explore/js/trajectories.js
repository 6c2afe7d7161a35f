// PGD: margin against step, a line a restart, growing while the attack runs; beside it the plane through the box with the
// paths. A slider replays both step by step; hovering over a restart lights it in both.
import { bottomAxis, heading, html, label, leftAxis, picture, scale, signed, svg } from "./common.js";

const LEFT = 48, RIGHT = 16, TOP = 58, BOTTOM = 44;

/** Tell Python where the slider stands: of many moves while the kernel is busy only the last one is sent. */
function tellStep(model, step) {
  model.set("scrubbed", { step, count: (model.get("scrubbed").count || 0) + 1 }); // a counter, so that equal steps differ
  model.save_changes();
}

/** Path of [x, y] pairs; a null ends a piece. @param {Array<[number, number] | null>} points */
function path(points) {
  let out = "", open = false;
  for (const point of points) {
    if (point === null) { open = false; continue; }
    out += `${open ? "L" : "M"}${point[0].toFixed(1)},${point[1].toFixed(1)}`;
    open = true;
  }
  return out;
}

/** Margin against step. @returns {{drawn: SVGElement, show: (step: number) => void}} */
function curve(data, { width, height }) {
  const last = Math.max(data.last, 1), end = data.done ? last : data.steps;
  const x = scale(0, end, LEFT, width - RIGHT), y = scale(data.limits[0], data.limits[1], height - BOTTOM, TOP);
  const lines = svg("g"), dot = svg("circle", { r: 5, class: "nb-dot" });
  const words = label(width - RIGHT, TOP - 8, "", { "text-anchor": "end", class: "nb-text nb-faint" });
  const upTo = (values, step) => values.slice(0, step + 1).map((value, s) => (value === null ? null : [x(s), y(value)]));
  function show(step) {
    const at = Math.min(step, data.last);
    lines.replaceChildren();
    for (let r = 0; r < data.margins[0].length; r += 1) {
      const values = data.margins.map((row) => row[r]), crossed = data.crossed[r] >= 0 && data.crossed[r] <= step;
      lines.append(svg("path", { d: path(upTo(values, step)), class: crossed ? "nb-line nb-loud" : "nb-line",
        "data-restart": r, "data-tip": `restart ${r + 1}: ${signed(values[at])} at step ${at}` }));
    }
    lines.append(svg("path", { d: path(upTo(data.best, step)), class: "nb-best" }));
    dot.setAttribute("cx", x(at));
    dot.setAttribute("cy", y(data.best[at]));
    words.textContent = `step ${at}: ${width < 340 ? "" : "lowest "}${signed(data.best[at])}`;
    lines.dataset.step = at;
  }
  const drawn = svg("svg", { viewBox: `0 0 ${width} ${height}`, width: "100%", class: "nb-svg nb-curve" }, [
    heading(data.title, width), words,
    svg("rect", { x: LEFT, y: y(0), width: width - LEFT - RIGHT, height: Math.max(0, height - BOTTOM - y(0)), class: "nb-breach" }),
    leftAxis(y, data.limits[0], data.limits[1], LEFT, width - RIGHT, "margin, logits"),
    bottomAxis(x, 0, end, height - BOTTOM, TOP, "step of PGD"),
    svg("line", { x1: LEFT, x2: width - RIGHT, y1: y(0), y2: y(0), class: "nb-zero" }), lines, dot,
  ]);
  return { drawn, show };
}

/** The plane through the box. @returns {{drawn: SVGElement, show: (step: number) => void}} */
function plane(data, { width, height }) {
  const across = data.across[1] - data.across[0], up = data.up[1] - data.up[0];
  const per = Math.min((width - LEFT - RIGHT) / across, (height - TOP - BOTTOM) / up), w = across * per;
  const stretch = Math.max(1, Math.min(0.6 * w, height - TOP - BOTTOM) / (up * per)); // a flat plane would hide its paths
  const h = up * per * stretch, x = scale(data.across[0], data.across[1], LEFT, LEFT + w);
  const y = scale(data.up[0], data.up[1], TOP + h, TOP), paths = svg("g");
  const at = (point) => (point === null || point[0] === null ? null : [x(point[0]), y(point[1])]);
  function show(step) {
    paths.replaceChildren();
    for (let r = 0; r < data.paths[0].length; r += 1) {
      const walked = data.paths.slice(0, step + 1).map((row) => row[r]).filter((point) => point[0] !== null);
      const margin = data.margins[Math.min(step, walked.length - 1)][r], end = at(walked[walked.length - 1]);
      const tip = { "data-restart": r, "data-tip": `restart ${r + 1}: margin ${signed(margin)} after ${walked.length - 1} steps` };
      paths.append(svg("path", { d: path(walked.map(at)), class: "nb-walk", ...tip }));
      paths.append(svg("circle", { cx: end[0], cy: end[1], r: 4.5, class: margin <= 0 ? "nb-hitpoint" : "nb-dot", ...tip }));
    }
    paths.dataset.step = step;
  }
  const notes = data.zero.length ? ["bold: margin 0"] : [];
  if (stretch > 1.05) notes.push(`drawn ${stretch.toFixed(1)} times as high`);
  const drawn = svg("svg", { viewBox: `0 0 ${width} ${height}`, width: "100%", class: "nb-svg nb-plane" }, [
    heading(data.title, width),
    svg("image", { href: data.url, x: LEFT, y: TOP, width: w, height: h, preserveAspectRatio: "none" }),
    ...data.zero.map((line) => svg("path", { d: path(line.map(at)), class: "nb-zeroline" })), paths,
    svg("path", { d: `M${x(0) - 6},${y(0)}L${x(0) + 6},${y(0)}M${x(0)},${y(0) - 6}L${x(0)},${y(0) + 6}`, class: "nb-best" }),
    label(LEFT, TOP + h + 16, "+ the image; circles: ends of PGD", { class: "nb-text nb-faint" }),
    label(LEFT, TOP + h + 32, notes.join("; "), { class: "nb-text nb-faint" }),
  ]);
  return { drawn, show };
}

export default picture((model, data, frame) => {
  const beside = data.plane && !frame.small && frame.width >= 546; // two pictures share a line
  const half = beside ? { width: frame.width / 2 - 3, height: frame.height } : frame;
  const parts = [curve(data, half)];
  if (data.plane) parts.push(plane(data.plane, half));
  const holder = html("div", { class: "nb-two" }, parts.map((part) => part.drawn));
  const slider = html("input", { type: "range", min: 0, max: data.last, value: data.last, class: "nb-slider",
    "aria-label": "step of the replay" });
  const show = (step) => parts.forEach((part) => part.show(step));
  const moved = () => {
    const step = model.get("step") < 0 ? data.last : Math.min(model.get("step"), data.last);
    slider.value = step;
    show(step);
  };
  slider.addEventListener("input", () => { show(Number(slider.value)); tellStep(model, Number(slider.value)); });
  model.on("change:step", moved);
  frame.ends.push(() => model.off("change:step", moved));
  holder.addEventListener("pointerover", (event) => {
    const restart = event.target.dataset ? event.target.dataset.restart : undefined;
    holder.querySelectorAll("[data-restart]").forEach((part) =>
      part.classList.toggle("nb-lit", restart !== undefined && part.dataset.restart === restart));
  });
  moved();
  return data.done ? [holder, slider] : [holder];
});
