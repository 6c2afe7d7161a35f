"""A page with the explorer's pictures and no kernel: each module draws a view that is handed to it."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

from nbutils.explore.picture import FOLDER, module

MODEL = """
class Model {
  constructor(state) { this.state = state; this.heard = {}; this.saved = []; }
  get(name) { return this.state[name]; }
  set(name, value) { this.state[name] = value; (this.heard[`change:${name}`] || []).forEach((act) => act()); }
  save_changes() { this.saved.push(structuredClone(this.state.scrubbed)); }
  send(content) { this.saved.push(structuredClone(content.picked)); }
  on(name, act) { (this.heard[name] ||= []).push(act); }
  off(name, act) { this.heard[name] = (this.heard[name] || []).filter((other) => other !== act); }
}
window.models = {};
"""


def write_page(path: Path, views: dict[str, dict[str, Any]], sheet: bytes = b"") -> Path:
    """An HTML file with one picture for each of `views`; its models are `window.models`, by name.

    `sheet` is the PNG of the strip's thumbnails.
    """
    parts = []
    for name, view in views.items():
        state = {"view": view, "scrubbed": {}, "width": 640, "height": 340, "step": -1}
        code = module(name).replace("export default picture(", "const drawn = picture(", 1)
        parts.append(
            f"<div id='{name}' style='width:700px'></div><script type='module'>{code}\n"
            f"const model = window.models['{name}'] = new Model({{ sheet: window.sheet, ...{json.dumps(state)} }});\n"
            f"drawn.render({{ model, el: document.getElementById('{name}') }});</script>"
        )
    coded = base64.b64encode(sheet).decode()
    parts.append(f"<script>window.sheet = Uint8Array.from(atob('{coded}'), (c) => c.charCodeAt(0));</script>")
    parts.reverse()  # the bytes first
    style = (FOLDER / "explorer.css").read_text(encoding="utf-8")
    text = f"<!doctype html><meta charset='utf-8'><style>{style}</style><script>{MODEL}</script>{''.join(parts)}"
    path.write_text(text, encoding="utf-8")
    return path
