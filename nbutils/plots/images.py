"""Images side by side: class, prediction, margin and status of each."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from ..core import STATUSES, ImageSet, Margins, Verdict, require
from .style import FAINT, INK, LABEL, SMALL, STATUS, TITLE, blank, fit, plural, signed, thousands

TILE = 1.06  # inches a tile of the grid is wide, at least
CAPTION = 14  # characters that fit below a tile
MOST = 100
"""Most images of a grid. Of more, as many at even distances are drawn: a thousand took two minutes."""


@dataclass(frozen=True)
class Tile:
    """Texts of one image of a grid."""

    label: str
    caption: str
    status: str | None


@dataclass(frozen=True)
class GridView:
    """A grid of tiles, row by row."""

    tiles: tuple[Tile, ...]
    shown: tuple[int, ...]  # the image of each tile
    columns: int
    rows: int
    title: str
    legend: tuple[tuple[str, str], ...]  # status, text with its count
    key: str  # how to read a tile

    @property
    def alt(self) -> str:
        """The picture in words, for who does not see it."""
        parts = [f"{self.title}."]
        for tile in self.tiles[:30]:
            texts = [tile.label, *tile.caption.split("\n"), tile.status or ""]
            parts.append(", ".join(" ".join(text.split()) for text in texts if text) + ".")
        if len(self.tiles) > 30:
            parts.append(f"And {plural(len(self.tiles) - 30, 'further image')}.")
        return " ".join(parts)


def show_image(ax: Axes, image: np.ndarray) -> None:
    """Draw uint8 or float [0, 1] pixels [C, H, W] without smoothing and without ticks.

    An image whose last axis alone can be colours, [H, W, C], is drawn as that: some networks take it so.
    """
    last = image.shape[0] not in (1, 3) and image.shape[-1] in (1, 3)
    picture = image if last else np.moveaxis(image, 0, -1)
    ax.imshow(
        picture.squeeze(-1) if picture.shape[-1] == 1 else picture,
        cmap="gray",
        interpolation="nearest",
        vmin=0,
        vmax=255 if image.dtype == np.uint8 else 1,
    )
    ax.set(xticks=[], yticks=[])


def badge(ax: Axes, status: str, *, size: float = LABEL) -> None:
    """Frame the image of `ax` in the colour of `status` and put its glyph into the corner."""
    mark = STATUS[status]
    for spine in ax.spines.values():
        spine.set(color=mark.color, linewidth=2.6)
    ax.text(
        0.05,
        0.95,
        mark.glyph,
        transform=ax.transAxes,
        ha="left",
        va="top",
        fontsize=size,
        fontweight="bold",
        color=mark.ink,
        bbox={"boxstyle": "round,pad=0.18", "facecolor": "white", "edgecolor": mark.color},
    )


def grid_view(
    images: ImageSet,
    verdicts: Sequence[Verdict] | None = None,
    margins: Margins | None = None,
    *,
    columns: int | None = None,
    name: str = "",
) -> GridView:
    """Resolve what `figure_grid` draws; verdicts are found by image id and label, margins by row.

    Of more than `MOST` images some at even distances are tiles; the counts are of all.
    """
    n = len(images)
    require(n > 0, "images", 0, "1 image or more")
    require(
        margins is None or len(margins.labels) == n,
        "margins",
        None if margins is None else len(margins.labels),
        f"one row for each of {plural(n, 'image')}",
    )
    shown = tuple(range(n)) if n <= MOST else tuple(number * n // MOST for number in range(MOST))
    columns = -(-len(shown) // -(-len(shown) // 10)) if columns is None else columns
    require(isinstance(columns, int) and columns >= 1, "columns", columns, "a whole number from 1")
    columns = min(columns, len(shown))
    known = {(verdict.image_id, verdict.label): verdict for verdict in verdicts or ()}
    keys = list(zip(images.ids, images.labels.tolist(), strict=True))
    missing = [str(images.indices[row]) for row in range(n) if verdicts is not None and keys[row] not in known]
    require(not missing, "verdicts: image without a verdict", ", ".join(missing), "a verdict for every image")
    tiles = []
    for row in shown:
        verdict = known.get(keys[row])
        label, predicted, margin = int(images.labels[row]), None, None
        if verdict is not None:
            predicted, margin = verdict.predicted, verdict.natural_margin
        elif margins is not None:
            predicted, margin = int(margins.predicted[row]), float(margins.smallest[row])
        caption = ""
        if predicted is not None:
            guess = "correct" if predicted == label else images.name_of(predicted)
            caption = f"→ {fit(guess, CAPTION - 2)}\n{signed(margin)}"
        status = verdict.status if verdict is not None else None
        tiles.append(Tile(fit(images.name_of(label), CAPTION, 2), caption, status))
    settled = Counter(known[key].status for key in keys) if verdicts is not None else Counter[str]()
    counts = {status: settled[status] for status in STATUSES}
    title = (f"{name}: " if name else "") + plural(n, "image") + f" ({images.source})"
    if verdicts is not None:
        title += ": " + ", ".join(f"{count} {status}" for status, count in counts.items() if count)
    read = "above: true class    → prediction    below: smallest margin in logits"
    key = [read] if verdicts is not None or margins is not None else []
    key += [f"{len(shown)} of {thousands(n)} drawn, at even distances"] if n > MOST else []
    return GridView(
        tiles=tuple(tiles),
        shown=shown,
        columns=columns,
        rows=-(-len(shown) // columns),
        title=title,
        legend=tuple((status, f"{status} ({count})") for status, count in counts.items() if count),
        key="\n".join(key),
    )


def figure_grid(
    images: ImageSet,
    verdicts: Sequence[Verdict] | None = None,
    margins: Margins | None = None,
    *,
    columns: int | None = None,
    name: str = "",
) -> Figure:
    """Images [N] with true class, prediction, margin and status, in rows of `columns` (default: at most ten).

    At most `MOST` of them, at even distances. `name` is that of the network, for the title.
    """
    view = grid_view(images, verdicts, margins, columns=columns, name=name)
    tile = max(TILE, min(1.5, 6.0 / view.columns))
    below = (0.42 if any(tile.caption for tile in view.tiles) else 0.05) + (
        0.14 if any("\n" in tile.label for tile in view.tiles) else 0
    )
    head = 0.3 + (0.3 if view.legend else 0) + 0.25 * len(view.key.splitlines())
    width = max(view.columns * tile, 5.6)
    figure = blank(width, head + view.rows * (tile + below + 0.2))
    figure.set_label(view.alt)
    figure.suptitle(fit(view.title, int(width * 12), 3), x=0.01, ha="left", fontsize=TITLE, color=INK)
    grid = figure.subplots(view.rows, view.columns, squeeze=False)
    for ax in grid.flat[len(view.tiles) :]:
        ax.set_axis_off()
    for ax, row, tile_text in zip(grid.flat, view.shown, view.tiles, strict=False):
        show_image(ax, images.levels[row])
        ax.set_title(tile_text.label, fontsize=SMALL, fontweight="bold", color=INK, pad=3)
        ax.set_xlabel(tile_text.caption, fontsize=SMALL, color=INK, labelpad=3, linespacing=1.15)
        for spine in ax.spines.values():
            spine.set(color="#BBBBBB", linewidth=0.8)
        if tile_text.status:
            badge(ax, tile_text.status)
    if view.legend or view.key:
        marks = [(STATUS[status], text) for status, text in view.legend]
        handles = [
            Patch(
                facecolor=mark.color, hatch=mark.hatch[:3], edgecolor="white", linewidth=0, label=f"{mark.glyph} {text}"
            )
            for mark, text in marks
        ]
        legend = figure.legend(
            handles=handles,
            loc="outside lower left",
            ncols=max(1, len(handles)),
            frameon=False,
            fontsize=SMALL,
            title=view.key,
            alignment="left",
        )
        legend.get_title().set(fontsize=SMALL, color=FAINT)
    return figure
