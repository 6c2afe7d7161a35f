// The margin ladder: one row a rival; circle natural, cross attacked, nested bars what each method proves.
import { LETTER, bottomAxis, fitted, heading, html, label, pick, picture, scale, signed, svg, titleLines } from "./common.js";

/** One ladder. @param {any} model @param {any} data view of `ladder_view` @param {number[]} limits @param {string} title */
function ladder(model, data, { width, small, room }, limits, title) {
  const words = title ? `${title}: ${data.title}` : data.title, narrow = width < 480;
  const longest = Math.max(0, ...data.rungs.map((rung) => rung.name.length));
  const LEFT = Math.round(Math.min(0.28 * width, Math.max(150, LETTER * longest + 16))), RIGHT = narrow ? 26 : 84;
  const TOP = 18 + 16 * titleLines(words, width), rows = data.rungs.length;
  const ROW = small ? (room < 420 ? 15 : 17) : Math.max(18, Math.min(30, Math.floor(room / Math.max(rows, 1)))), height = TOP + rows * ROW + 38;
  const x = scale(limits[0], limits[1], LEFT, width - RIGHT), bottom = TOP + rows * ROW;
  const parts = [
    heading(words, width),
    svg("rect", { x: LEFT, y: TOP, width: Math.max(0, x(0) - LEFT), height: rows * ROW, class: "nb-breach" }),
    bottomAxis(x, limits[0], limits[1], bottom, TOP, narrow ? "margin, logits" : "margin, logits: right of zero is proved"),
    svg("line", { x1: x(0), x2: x(0), y1: TOP, y2: bottom, class: "nb-zero" }),
  ];
  data.rungs.forEach((rung, number) => {
    const y = TOP + number * ROW + ROW / 2, followed = rung.rival === data.follow;
    const tip = [`${rung.name}: natural ${signed(rung.natural)}`, rung.attacked === null ? "" : `PGD ${signed(rung.attacked)}`,
      ...data.methods.map((method, i) => `${data.look.method[method].name} at least ${signed(rung.lower[i])}`)];
    const row = svg("g", { class: "nb-row", tabindex: 0, role: "button", "data-rival": rung.rival,
      "data-tip": tip.filter(Boolean).join(", "), "aria-label": `${tip.filter(Boolean).join(", ")}. ${rung.state || ""}` });
    row.append(svg("rect", { x: 0, y: y - ROW / 2, width, height: ROW, class: followed ? "nb-follow" : "nb-hit" }));
    row.append(label(LEFT - 8, y + 4, fitted(rung.name, LEFT - 10), { "text-anchor": "end" }));
    data.methods.forEach((method, i) => {
      const look = data.look.method[method], h = ROW * look.height;
      const from = Math.max(limits[0], rung.lower[i] === null ? limits[0] : rung.lower[i]);
      const seen = rung.attacked === null ? rung.natural : Math.min(rung.natural, rung.attacked);
      row.append(svg("rect", { x: x(from), y: y - h / 2, width: Math.max(1, x(seen) - x(from)), height: h, fill: look.color,
        "data-bound": rung.lower[i], "data-method": method }));
      if (rung.lower[i] === null || rung.lower[i] < limits[0]) { // it goes on to the left
        row.append(svg("path", { d: `M${LEFT + 7},${y - 4}L${LEFT},${y}L${LEFT + 7},${y + 4}Z`, class: "nb-cut" }));
      }
    });
    if (rung.attacked !== null) {
      const a = x(rung.attacked);
      row.append(svg("path", { d: `M${a - 5},${y - 5}L${a + 5},${y + 5}M${a - 5},${y + 5}L${a + 5},${y - 5}`, class: "nb-cross" }));
    }
    row.append(svg("circle", { cx: x(rung.natural), cy: y, r: 5, class: "nb-dot" }));
    if (rung.state) {
      const mark = data.look.rival[rung.state];
      row.append(label(width - RIGHT + 8, y + 4, narrow ? mark.glyph : `${mark.glyph} ${rung.state}`, { class: "nb-text" }));
    }
    const follow = () => pick(model, { rival: rung.rival });
    row.addEventListener("click", follow);
    row.addEventListener("keydown", (event) => { if (event.key === "Enter") follow(); });
    parts.push(row);
  });
  return svg("svg", { viewBox: `0 0 ${width} ${height}`, width: "100%", class: "nb-svg" }, parts);
}

function legend(data, limits) {
  const items = data.methods.map((m) => html("span", { class: "nb-key" }, [
    html("i", { style: `background:${data.look.method[m].color}` }), data.look.method[m].name]));
  const far = data.rungs.some((rung) => rung.lower.some((bound) => bound === null || bound < limits[0]));
  if (far) items.push(html("span", { class: "nb-key" }, ["\u25c2 goes on to the left"]));
  return html("div", { class: "nb-legend" }, ["\u25cb natural", " \u2715 lowest of PGD ", ...items,
    html("span", { class: "nb-key" }, [data.note || ""])]);
}

export default picture((model, data, frame) => {
  const both = data.other ? [data, data.other] : [data];
  const limits = [Math.min(...both.map((d) => d.limits[0])), Math.max(...both.map((d) => d.limits[1]))];
  const drawn = both.map((d) => ladder(model, { ...d, look: data.look, follow: data.follow }, frame, limits, d.network));
  return [...drawn, legend(data, limits)];
});
