"""The browser's side of a picture: a view goes out, what was clicked comes back. Draws nothing itself."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anywidget
import traitlets

FOLDER = Path(__file__).parent / "js"
PICTURES = ("strip", "image", "ladder", "trajectories", "radius", "layers", "set")


@functools.cache
def module(name: str) -> str:
    """The ES module of a picture as one text: what it imports from `common.js` stands before it."""
    own = (FOLDER / f"{name}.js").read_text(encoding="utf-8")
    common = (FOLDER / "common.js").read_text(encoding="utf-8")
    own = re.sub(r'^import \{[^}]*\} from "\./common\.js";\n', "", own, flags=re.MULTILINE)
    return re.sub(r"^export function", "function", common, flags=re.MULTILINE) + own


class Picture(anywidget.AnyWidget):
    """One picture that can be touched.

    `view` is {state, message, data}: state is `empty`, `running`, `stale`, `failed` or `ready`, data a resolved view.
    A click or a key comes as a message {picked: what}, see `on_pick`: of several changes of a trait while the kernel is
    busy only the last one arrives. `scrubbed` holds the step of a replay's slider, where the last is all that counts.
    `sheet` is the strip's PNG of thumbnails: apart from `view`, so that it travels once, and as bytes, because
    Chromium drops a picture of more than 2 MB that is written into a style.
    """

    view = traitlets.Dict().tag(sync=True)
    scrubbed = traitlets.Dict().tag(sync=True)
    sheet = traitlets.Bytes(b"").tag(sync=True)
    width = traitlets.Int(640).tag(sync=True)
    height = traitlets.Int(360).tag(sync=True)
    step = traitlets.Int(-1).tag(sync=True)  # that a replay stands at; -1 is the last one

    _css = (FOLDER / "explorer.css").read_text(encoding="utf-8")

    def __init__(self, name: str, **more: object) -> None:
        """`name` is one of `PICTURES`."""
        super().__init__(_esm=module(name), **more)

    def on_pick(self, act: Callable[[dict[str, Any]], object]) -> None:
        """Call `act` with whatever is clicked, such as {"row": 3} or {"key": "a"}."""

        def told(_: object, content: object, __: object) -> None:
            if isinstance(content, dict) and isinstance(content.get("picked"), dict):
                act(content["picked"])

        self.on_msg(told)
