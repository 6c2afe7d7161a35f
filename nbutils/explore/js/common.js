// What every picture shares: SVG elements, scales, axes, a tooltip, and how a widget keeps its view drawn.

const NS = "http://www.w3.org/2000/svg";
const BOLD = 7.8; // pixels that a letter of a title takes
export const LETTER = 7.2; // and one of other text

/** An SVG element. @param {string} tag @param {Object} attributes @param {Node[]} children */
export function svg(tag, attributes = {}, children = []) {
  const element = document.createElementNS(NS, tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

/** An HTML element. @param {string} tag @param {Object} attributes @param {(Node|string)[]} children */
export function html(tag, attributes = {}, children = []) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

/** Text in the ink of the theme. */
export function label(x, y, text, attributes = {}) {
  const element = svg("text", { x, y, class: "nb-text", ...attributes });
  element.textContent = text;
  return element;
}

/** A text cut to so many pixels. */
export function fitted(text, pixels) {
  const most = Math.max(3, Math.floor(pixels / LETTER));
  return text.length > most ? `${text.slice(0, most - 1).trimEnd()}\u2026` : text;
}

/** A title on one or two lines of a picture of this width. @returns {string[]} */
function wrapped(text, width) {
  const most = Math.floor((width - 16) / BOLD), lines = [""];
  for (const word of text.split(" ")) {
    if (lines.length < 2 && lines[0].length + word.length > most) lines.push("");
    lines[lines.length - 1] += `${lines[lines.length - 1] ? " " : ""}${word}`;
  }
  if (lines.length > 1 && lines[1].length > most + 2) lines[1] = `${lines[1].slice(0, most)}\u2026`;
  return lines;
}

/** Lines that a title takes in a picture of this width: one or two. */
export function titleLines(text, width) {
  return wrapped(text, width).length;
}

/** A title over at most two lines of a picture of this width. @returns {SVGElement} */
export function heading(text, width) {
  const lines = wrapped(text, width);
  return svg("g", {}, lines.map((line, number) => label(8, 15 + 16 * number, line, { class: "nb-text nb-title" })));
}

/** A map from [a, b] to [c, d]. @returns {(value: number) => number} */
export function scale(a, b, c, d) {
  const slope = (d - c) / (b - a || 1);
  return (value) => c + (value - a) * slope;
}

/** About `count` round numbers between a and b. @returns {number[]} */
export function ticks(a, b, count = 6) {
  const raw = (b - a) / count || 1;
  const power = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 5, 10].map((n) => n * power).find((s) => s >= raw);
  const found = [];
  for (let n = Math.ceil(a / step); n * step <= b + 1e-9; n += 1) found.push(Number((n * step).toPrecision(12)));
  return found;
}

/** A number with its sign, two digits. */
export function signed(value) {
  if (value === null || value === undefined) return "not known";
  return (value < 0 ? "\u2212" : "+") + Math.abs(value).toFixed(Math.abs(value) < 100 ? 2 : 0);
}

/** Axis along the bottom with grid lines up to `top`. */
export function bottomAxis(x, from, to, y, top, title) {
  const letters = Math.max(String(Math.round(from)).length, String(Math.round(to)).length);
  const count = Math.max(1, Math.min(6, Math.floor(Math.abs(x(to) - x(from)) / (8 * letters + 16)))); // numbers stay apart
  const parts = ticks(from, to, count).map((value) =>
    svg("g", {}, [
      svg("line", { x1: x(value), x2: x(value), y1: y, y2: top, class: "nb-grid" }),
      label(x(value), y + 14, String(value).replace("-", "\u2212"), { "text-anchor": "middle", class: "nb-text nb-tick" }),
    ]),
  );
  return svg("g", { "aria-hidden": "true" }, [
    ...parts, label((x(from) + x(to)) / 2, y + 30, title, { "text-anchor": "middle", class: "nb-text nb-faint" }),
  ]);
}

/** Axis at the left with grid lines to `right`. */
export function leftAxis(y, from, to, x, right, title) {
  const parts = ticks(from, to, 5).map((value) =>
    svg("g", {}, [
      svg("line", { x1: x, x2: right, y1: y(value), y2: y(value), class: "nb-grid" }),
      label(x - 6, y(value) + 4, String(value).replace("-", "\u2212"), { "text-anchor": "end" }),
    ]),
  );
  return svg("g", { "aria-hidden": "true" }, [...parts, label(x, y(to) - 8, title, { class: "nb-text nb-faint" })]);
}

/** A box with text that follows the pointer. Elements with `data-tip` show theirs. */
export function tooltip(root) {
  const tip = html("div", { class: "nb-tip", role: "status" });
  root.append(tip);
  root.addEventListener("pointermove", (event) => {
    const owner = event.target.closest ? event.target.closest("[data-tip]") : null;
    tip.style.display = owner ? "block" : "none";
    if (!owner) return;
    tip.textContent = owner.dataset.tip;
    const frame = root.getBoundingClientRect();
    tip.style.left = `${Math.min(event.clientX - frame.left + 12, Math.max(0, frame.width - 220))}px`;
    tip.style.top = `${event.clientY - frame.top + 14}px`;
  });
  root.addEventListener("pointerleave", () => { tip.style.display = "none"; });
}

/** Tell Python of a click or a key: a message of its own, so that none is lost while the kernel is busy. */
export function pick(model, what) {
  model.send({ picked: what });
}

/**
 * Draw the model's view into `el` now and whenever it changes.
 * A view is {state, message?, data?}: "empty", "running", "stale", "failed" or "ready".
 * The frame is as wide as the page gives room, and `small` where several pictures share a tab.
 * @param {(model: any, data: any, frame: {width: number, height: number, small: boolean, room: number}) => Node[]} draw
 */
export function picture(draw) {
  function render({ model, el }) {
    el.classList.add("nb-picture");
    const root = html("div", { class: "nb-root", role: "img" });
    el.append(root);
    let ends = []; // what a drawing has to undo before the next one: its listeners on the model
    let drawnAt = 0; // width of the page's room; 0 in a tab that is not shown
    function redraw() {
      ends.forEach((end) => end());
      ends = [];
      const view = model.get("view");
      drawnAt = root.clientWidth;
      const small = el.closest(".nb-all") !== null;
      const room = Math.max(200, window.innerHeight - 370); // what a low window leaves under the controls
      const height = small ? Math.max(150, Math.min(206, room - 237)) : Math.min(model.get("height"), room);
      const frame = { width: drawnAt || model.get("width"), height, small, room, ends };
      const focused = [...root.querySelectorAll("[tabindex]")].indexOf(root.getRootNode().activeElement);
      root.replaceChildren();
      root.dataset.state = view.state || "empty";
      const note = html("div", { class: "nb-note" }, [view.message || ""]);
      if (view.message) root.append(note);
      if (view.data) {
        root.setAttribute("aria-label", `${view.message ? `${view.message}. ` : ""}${view.data.alt || ""}`);
        root.append(...draw(model, view.data, frame));
        tooltip(root);
        // a key pressed here is the picture's: Notebook 7 would insert a cell at "a"
        root.querySelectorAll("[tabindex], input").forEach((part) => { part.dataset.lmSuppressShortcuts = "true"; });
        if (focused >= 0) root.querySelectorAll("[tabindex]")[focused]?.focus({ preventScroll: true });
      } else root.setAttribute("aria-label", view.message || "nothing yet");
    }
    const resized = new ResizeObserver(() => { // more than a scroll bar, which a drawing may bring about itself
      if (root.clientWidth && Math.abs(root.clientWidth - drawnAt) > 20) redraw();
    });
    model.on("change:view", redraw);
    redraw();
    resized.observe(root);
    return () => { resized.disconnect(); ends.forEach((end) => end()); model.off("change:view", redraw); };
  }
  return { render };
}
