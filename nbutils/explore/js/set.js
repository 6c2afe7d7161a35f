// The whole set: how many images have each status, and how their natural margins are spread; a bar filters the strip.
import { bottomAxis, heading, label, pick, picture, scale, svg, titleLines } from "./common.js";

const LEFT = 130, RIGHT = 20;

export default picture((model, data, frame) => {
  /** A bar of a distribution; a click shows its images only, another one all again. */
  function bar(kind, from, to, text, attributes) {
    const chosen = data.within && data.within[0] === kind && data.within[1] === from;
    const drawn = svg("rect", { ...attributes, class: chosen ? "nb-bar nb-chosen" : "nb-bar", tabindex: 0, role: "button",
      "data-kind": kind, "data-from": from, "aria-label": `show ${text}`, "data-tip": `${text}; click to show these only` });
    drawn.addEventListener("click", () => pick(model, { within: [kind, from, to] }));
    return drawn;
  }
  const { width } = frame, names = Object.keys(data.counts), most = Math.max(1, ...Object.values(data.counts));
  const x = scale(0, most, LEFT, width - RIGHT - 60);
  const below = 18 * titleLines(data.alt, width), parts = [heading(data.alt, width)];
  names.forEach((name, number) => {
    const y = below + 10 + number * 30, look = data.look.status[name], count = data.counts[name];
    const row = svg("g", { class: "nb-row", tabindex: 0, role: "button", "data-status": name, "aria-label": `show ${count} ${name}`,
      "data-tip": `${count} of ${data.total} images are ${name}; click to show them` }, [
      svg("rect", { x: 0, y, width, height: 30, class: "nb-hit" }),
      label(LEFT - 8, y + 20, `${look.glyph} ${name}`, { "text-anchor": "end" }),
      svg("rect", { x: LEFT, y: y + 5, width: Math.max(1, x(count) - LEFT), height: 20, fill: look.color }),
      label(x(count) + 6, y + 20, String(count)),
    ]);
    row.addEventListener("click", () => pick(model, { status: name }));
    parts.push(row);
  });
  const top = below + 160, bottom = top + 136, edges = data.edges;
  const bx = scale(edges[0], edges[edges.length - 1], LEFT, width - RIGHT);
  const totals = edges.slice(1).map((_, bin) => names.reduce((sum, name) => sum + data.bins[name][bin], 0));
  const by = scale(0, Math.max(1, ...totals), bottom, top);
  parts.push(label(8, top - 10, "natural margins", { class: "nb-text nb-title" }));
  parts.push(bottomAxis(bx, edges[0], edges[edges.length - 1], bottom, top, "smallest margin at the image, logits"));
  edges.slice(1).forEach((edge, bin) => {
    let base = 0;
    for (const name of names) {
      const count = data.bins[name][bin];
      if (count) parts.push(bar("margin", edges[bin], edge, `${count} ${name}`, { x: bx(edges[bin]) + 1,
        width: bx(edge) - bx(edges[bin]) - 2, y: by(base + count), height: by(base) - by(base + count),
        fill: data.look.status[name].color }));
      base += count;
    }
  });
  const hard = data.hardness;
  if (hard.counts.length) {
    const ceiling = bottom + 64, floor = ceiling + 86, hx = scale(hard.edges[0], hard.edges[hard.edges.length - 1], LEFT, width - RIGHT);
    const hy = scale(0, Math.max(...hard.counts), floor, ceiling);
    parts.push(label(8, ceiling - 10, "hardness of the open images", { class: "nb-text nb-title" }));
    parts.push(bottomAxis(hx, hard.edges[0], hard.edges[hard.edges.length - 1], floor, ceiling, "lowest attack minus best bound, logits"));
    hard.counts.forEach((count, bin) => {
      if (count) parts.push(bar("hardness", hard.edges[bin], hard.edges[bin + 1], `${count} open`, { x: hx(hard.edges[bin]) + 1,
        width: Math.max(2, hx(hard.edges[bin + 1]) - hx(hard.edges[bin]) - 2), y: hy(count), height: floor - hy(count),
        fill: data.look.status.open.color }));
    });
  }
  return [svg("svg", { viewBox: `0 0 ${width} ${bottom + (hard.counts.length ? 190 : 40)}`, width: "100%", class: "nb-svg" }, parts)];
});
