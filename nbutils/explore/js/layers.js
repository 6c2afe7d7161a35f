// Layer by layer: how wide the bounds are and what share of neurons they leave unstable, a line a method.
import { html, label, leftAxis, picture, scale, svg } from "./common.js";

const LEFT = 56, RIGHT = 12, TOP = 40, BOTTOM = 34;

/** One chart. @param {Object<string, number[]>} values by method @param {boolean} log */
function chart(data, values, title, log, width, height) {
  const methods = Object.keys(values), count = data.names.length;
  const seen = methods.flatMap((method) => values[method]).filter((value) => value > 0 || !log);
  const turn = (value) => (log ? Math.log10(Math.max(value, 1e-9)) : value);
  const low = log ? Math.floor(turn(Math.min(...seen))) : 0, high = log ? Math.ceil(turn(Math.max(...seen))) : Math.max(0.01, ...seen);
  const x = scale(1, Math.max(count, 2), LEFT, width - RIGHT), y = scale(low, high, height - BOTTOM, TOP);
  const parts = [label(8, 18, title, { class: "nb-text nb-title" }),
    leftAxis(y, low, high, LEFT, width - RIGHT, log ? "power of ten" : "share"),
    label((LEFT + width) / 2, height - 6, `layer, from the input (${count})`, { "text-anchor": "middle", class: "nb-text nb-faint" })];
  for (const method of methods) {
    const look = data.look.method[method], d = values[method].map((value, i) => `${i ? "L" : "M"}${x(i + 1)},${y(turn(value))}`).join("");
    parts.push(svg("path", { d, fill: "none", stroke: look.color, "stroke-width": 2, "data-method": method }));
    values[method].forEach((value, i) => parts.push(svg("circle", { cx: x(i + 1), cy: y(turn(value)), r: 3.4, fill: look.color,
      "data-value": value, "data-tip": `${look.name}, ${data.names[i]} (${data.neurons[i]} neurons): ${log ? value.toPrecision(3) : `${(100 * value).toFixed(1)} %`}` })));
  }
  return svg("svg", { viewBox: `0 0 ${width} ${height}`, width: "100%", class: "nb-svg" }, parts);
}

export default picture((model, data, frame) => {
  const half = frame.width < 546 ? frame.width : frame.width / 2 - 3;
  const height = Math.max(150, Math.min(210, frame.room - 192));
  const keys = Object.keys(data.width).map((method) => html("span", { class: "nb-key" }, [
    html("i", { style: `background:${data.look.method[method].color}` }), data.look.method[method].name]));
  return [html("div", { class: "nb-two" }, [
    chart(data, data.width, "width of the bounds (logarithmic)", true, half, height),
    chart(data, data.unstable, "share of unstable neurons", false, half, height),
  ]), html("div", { class: "nb-legend" }, [data.title, ...keys])];
});
