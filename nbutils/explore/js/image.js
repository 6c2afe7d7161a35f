// The image, the lowest point that PGD found and their difference; hovering tells the pixel and its box.
import { html, picture } from "./common.js";

export default picture((model, data) => {
  const size = 196;
  const panels = data.panels.map((panel) => {
    const shown = html("img", { src: panel.url, width: size, height: size, class: "nb-image", alt: panel.title, draggable: "false" });
    const holder = html("div", { class: "nb-panel" }, [shown, html("div", { class: "nb-name" }, [panel.title])]);
    shown.addEventListener("pointermove", (event) => {
      const frame = shown.getBoundingClientRect();
      const x = Math.min(data.side - 1, Math.max(0, Math.floor(((event.clientX - frame.left) / frame.width) * data.side)));
      const y = Math.min(data.side - 1, Math.max(0, Math.floor(((event.clientY - frame.top) / frame.height) * data.side)));
      const values = data.levels.map((channel, c) => `${channel[y][x]} in [${data.lower[c][y][x]}, ${data.upper[c][y][x]}]`);
      shown.dataset.tip = `row ${y}, column ${x}: levels ${values.join("; ")}`;
    });
    return holder;
  });
  return [html("div", { class: "nb-panels" }, panels)];
});
