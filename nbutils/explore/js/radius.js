// Bounds and attack against the radius: proven, open and broken intervals as bands.
import { bottomAxis, heading, html, label, leftAxis, picture, scale, signed, svg, titleLines } from "./common.js";

const LEFT = 56, RIGHT = 16, BOTTOM = 62;

export default picture((model, data, frame) => {
  const { width, small, room } = frame, far = data.radii[data.radii.length - 1];
  const height = small ? frame.height : Math.min(frame.height, Math.max(200, room - 120)); // the layers stand below it
  const narrow = width < 360, TOP = 24 + 16 * titleLines(data.title, width);
  const x = scale(0, far, LEFT, width - RIGHT), y = scale(data.limits[0], data.limits[1], height - BOTTOM, TOP);
  const deep = data.limits[0] - 9 * (data.limits[1] - data.limits[0]); // a null is a bound of minus infinity
  const line = (values) => values.map((v, i) => `${i ? "L" : "M"}${x(data.radii[i])},${y(v === null ? deep : v)}`).join("");
  const across = width - LEFT - RIGHT, up = height - BOTTOM - TOP; // a bound far below leaves the frame
  const inside = svg("svg", { x: LEFT, y: TOP, width: across, height: up, viewBox: `${LEFT} ${TOP} ${across} ${up}` }, [
    ...Object.entries(data.lower).map(([method, values]) => svg("path", { d: line(values), fill: "none", "stroke-width": 2,
      stroke: data.look.method[method].color, "data-method": method })),
    svg("path", { d: line(data.attack), class: "nb-attack" })]);
  const names = Object.keys(data.lower).map((method) => data.look.method[method].name);
  const broken = data.attacked === null ? far : data.attacked, band = height - BOTTOM + 36;
  const bands = [
    ["proven", 0, Math.min(data.certified, far)], ["open", Math.min(data.certified, far), Math.max(broken, data.certified)],
    ["broken", broken, far]].filter(([, from, to]) => to > from);
  const parts = [
    heading(data.title, width),
    svg("rect", { x: LEFT, y: y(0), width: across, height: Math.max(0, height - BOTTOM - y(0)), class: "nb-breach" }),
    leftAxis(y, data.limits[0], data.limits[1], LEFT, width - RIGHT, narrow ? "logits" : "margin, logits"),
    bottomAxis(x, 0, far, height - BOTTOM, TOP, ""),
    svg("line", { x1: LEFT, x2: width - RIGHT, y1: y(0), y2: y(0), class: "nb-zero" }),
    inside,
    label(width - RIGHT, TOP - 8, `dashed: PGD, line: ${narrow ? names.at(-1) : names.join(", ")}`, { "text-anchor": "end", class: "nb-text nb-faint" }),
    ...data.radii.map((r, i) => svg("circle", { cx: x(r), cy: y(data.attack[i]), r: 4, class: "nb-dot",
      "data-tip": `radius ${r.toFixed(2)}/255: PGD ${signed(data.attack[i])}, ${Object.entries(data.lower).map(([m, v]) => `${data.look.method[m].name} ${signed(v[i])}`).join(", ")}` })),
    ...bands.map(([word, from, to]) => svg("g", { "data-band": word, "data-from": from, "data-to": to }, [
      svg("rect", { x: x(from), y: band, width: x(to) - x(from), height: 12, fill: data.look.rival[word].color }),
      label((x(from) + x(to)) / 2, band + 24, `${data.look.rival[word].glyph} ${word}`, { "text-anchor": "middle" })])),
    label(width - RIGHT, height - BOTTOM + 30, "radius, 1/255", { "text-anchor": "end", class: "nb-text nb-faint" }),
  ];
  return [svg("svg", { viewBox: `0 0 ${width} ${height}`, width: "100%", class: "nb-svg" }, parts), html("div")];
});
