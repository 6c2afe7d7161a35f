// Thumbnails with label and status; a click or the arrow keys choose. Other keys are handed to Python.
import { html, pick, picture } from "./common.js";

const KEYS = ["a", "b", "c", " ", "[", "]", ",", ".", "?"];

let chosen = { row: -1, at: 0 };
const places = new WeakMap(); // by model: how far its strip is scrolled, and which tile was chosen

const sheets = new WeakMap(); // by model: its thumbnails' bytes, and the address of the picture made of them

/** The address of the picture that holds all thumbnails: a style could not hold the picture itself, more than 2 MB. */
function sheetAddress(model) {
  const bytes = model.get("sheet"), known = sheets.get(model);
  if (known && known.bytes === bytes) return known.address;
  if (known) URL.revokeObjectURL(known.address);
  const address = URL.createObjectURL(new Blob([bytes], { type: "image/png" }));
  sheets.set(model, { bytes, address });
  return address;
}

/** Report a tile once, though a hand's press arrives both as pointerup and as click. */
function choose(model, grid, row) {
  const now = performance.now();
  if (row !== chosen.row || now - chosen.at > 400) pick(model, { row });
  chosen = { row, at: now };
  grid.focus();
}

export default picture((model, data) => {
  const { sheet, tiles } = data, side = 48;
  const grid = html("div", { class: "nb-strip", tabindex: 0, role: "listbox", "aria-label": `${tiles.length} images` });
  grid.style.setProperty("--sheet", `url(${sheetAddress(model)})`);
  grid.style.setProperty("--smooth", sheet.side > side ? "auto" : "pixelated");
  const shown = document.createDocumentFragment();
  tiles.forEach((tile, number) => {
    const col = tile.place % sheet.columns, row = Math.floor(tile.place / sheet.columns);
    const mark = tile.status ? data.look.status[tile.status] : null;
    const item = html("div", { class: `nb-tile${tile.row === data.selected ? " nb-selected" : ""}`, role: "option",
      "aria-selected": tile.row === data.selected, "data-row": tile.row, "data-number": number,
      title: `image ${tile.index}, ${tile.label}${tile.status ? `, ${tile.status}` : ""}` }, [
      html("div", { class: "nb-thumb", style: `width:${side}px;height:${side}px;` +
        `background-size:${sheet.columns * side}px ${sheet.rows * side}px;background-position:-${col * side}px -${row * side}px` }),
      html("div", { class: "nb-name" }, [tile.label]),
      html("div", { class: "nb-status", style: mark ? `color:${mark.ink};background:${mark.color}33` : "" },
        [mark ? `${mark.glyph} ${tile.status}` : "not settled"]),
    ]);
    if (tile.basket) item.append(html("div", { class: "nb-basket", title: "in the basket" }, ["\u2605"]));
    // the strip may be drawn anew between press and release: the release is on the tile that is there then
    item.addEventListener("pointerup", (event) => { if (event.button === 0) choose(model, grid, tile.row); });
    item.addEventListener("click", () => choose(model, grid, tile.row));
    shown.append(item);
  });
  grid.append(shown);
  grid.addEventListener("keydown", (event) => {
    const at = tiles.findIndex((tile) => tile.row === data.selected);
    const across = Math.max(1, Math.floor(grid.clientWidth / (side + 33)));
    const step = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: across, ArrowUp: -across }[event.key];
    if (step !== undefined && tiles[at + step]) pick(model, { row: tiles[at + step].row });
    else if (KEYS.includes(event.key)) pick(model, { key: event.key });
    else return;
    event.preventDefault();
    event.stopPropagation();
  });
  const counts = Object.entries(data.counts).filter(([, n]) => n).map(([name, n]) => html("span", { class: "nb-count" },
    [`${data.look.status[name].glyph} ${n} ${name}`]));
  const seen = places.get(model) || { top: 0, selected: null };
  places.set(model, seen);
  grid.addEventListener("scroll", () => { seen.top = grid.scrollTop; });
  queueMicrotask(() => { // once it stands in the page: where it was scrolled to, and the chosen tile where that is another one
    grid.scrollTop = seen.top;
    const selected = grid.querySelector(".nb-selected");
    if (selected && seen.selected !== data.selected) {
      const top = selected.offsetTop - grid.offsetTop, bottom = top + selected.offsetHeight;
      if (top < grid.scrollTop) grid.scrollTop = top;
      else if (bottom > grid.scrollTop + grid.clientHeight) grid.scrollTop = bottom - grid.clientHeight;
    }
    seen.selected = data.selected;
  });
  return [grid, html("div", { class: "nb-legend" }, counts.length ? counts : ["nothing settled yet"])];
});
