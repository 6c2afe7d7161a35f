"""Show figures and findings in a notebook: a picture with its alt text, and the sentence that goes with it."""

from __future__ import annotations

import io

from IPython.display import Image, Markdown, display
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from .plots import describe


def png(drawn: Figure | Axes, *, dpi: int = 110) -> bytes:
    """The figure of `drawn` as PNG bytes; equal figures give equal bytes (no date, no software version)."""
    figure = drawn if isinstance(drawn, Figure) else drawn.get_figure(root=True)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=dpi, metadata={"Software": None})
    return buffer.getvalue()


def show(drawn: Figure | Axes, finding: str = "") -> None:
    """Display a figure with its alt text, then `finding` (Markdown) under it.

    Goes through a plain PNG, so it looks the same in JupyterLab, under papermill and in the HTML report, whatever
    matplotlib backend is active.
    """
    display(Image(png(drawn), alt=describe(drawn)))
    if finding:
        display(Markdown(finding))
