"""Resolved views as plain data for the browser: numbers, texts and pictures, nothing that it would have to compute."""

from __future__ import annotations

import base64
import dataclasses
import io
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from contourpy import contour_generator
from matplotlib import colormaps
from matplotlib.colors import Normalize
from PIL import Image

from ..analysis import RadiusCurve, Slice
from ..core import STATUSES, AttackTrace, ImageSet, MarginBounds, Margins, Normalization, Verdict
from ..plots import METHOD, STATUS, ladder_view, layers_view, radius_view, slice_view, trajectory_view
from .strip import COLUMNS, Sheet

AMPLIFIED = 40.0  # the difference is shown this many times as large, around grey


def plain(value: Any) -> Any:
    """`value` in JSON's types: records as objects, arrays as lists, numbers that are not finite as null."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        found = {field.name: plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
        return found | ({"alt": value.alt} if hasattr(value, "alt") else {})
    if isinstance(value, np.ndarray):
        return plain(value.tolist())
    if isinstance(value, Mapping):
        return {str(key): plain(part) for key, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(part) for part in value]
    if isinstance(value, (float, np.floating)):
        return float(f"{value:.6g}") if math.isfinite(value) else None
    return int(value) if isinstance(value, np.integer) else value


def look() -> dict[str, Any]:
    """Colours, glyphs and words of statuses and methods, as every picture of the project has them."""
    return {
        "status": {name: {"color": m.color, "ink": m.ink, "glyph": m.glyph} for name, m in STATUS.items()},
        "rival": {m.rival_word: {"color": m.color, "glyph": m.glyph} for m in STATUS.values() if m.rival_word},
        "method": {name: {"name": s.name, "color": s.color, "height": s.height} for name, s in METHOD.items()},
    }


def png_url(levels: np.ndarray) -> str:
    """uint8 [C, H, W] as the address of a PNG picture."""
    picture = levels[0] if levels.shape[0] == 1 else np.moveaxis(levels, 0, -1)
    buffer = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(picture)).save(buffer, format="PNG")
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


def strip_view(
    images: ImageSet,
    rows: Sequence[int],
    sheet: Sheet,
    verdicts: Mapping[str, Verdict],
    selected: int,
    basket: Sequence[int],
) -> dict[str, Any]:
    """The thumbnails of `rows` with label and status; `sheet` has their pixels, which travel apart."""
    tiles = []
    for row in rows:
        verdict = verdicts.get(images.keys[row])
        tiles.append(
            {
                "row": int(row),
                "place": sheet.places[row],
                "index": int(images.indices[row]),
                "label": images.name_of(int(images.labels[row])),
                "status": None if verdict is None else verdict.status,
                "basket": int(images.indices[row]) in basket,
            }
        )
    counts = dict.fromkeys(STATUSES, 0)
    for verdict in verdicts.values():
        counts[verdict.status] += 1
    grid = {"columns": COLUMNS, "rows": sheet.rows, "side": sheet.side}
    return {"tiles": tiles, "sheet": grid, "selected": int(selected), "counts": counts, "images": len(images)}


def ladder_data(
    margins: Margins,
    trace: AttackTrace | None,
    bounds: Sequence[MarginBounds],
    row: int,
    images: ImageSet,
    follow: int | None,
) -> dict[str, Any]:
    """The margin ladder; `follow` is the class number of the rival that is followed."""
    view = ladder_view(margins, trace, bounds, row=row, class_names=images.class_names)
    return plain(view) | {"follow": follow}


def trajectory_data(margins: np.ndarray, trace: AttackTrace | None, done: bool, steps: int) -> dict[str, Any]:
    """Margin against step. `margins` [S+1, R] of an attack that still runs, or the whole `trace`."""
    if trace is not None and done:
        return plain(trajectory_view(trace)) | {"done": True, "steps": steps}
    best = np.minimum.accumulate(margins.min(axis=1))
    low, high = min(0.0, float(margins.min())), max(0.0, float(margins.max()))
    pad = 0.08 * max(high - low, 1e-3)
    title = f"step {len(margins) - 1} of {steps}: lowest margin {best[-1]:+.2f} logits"
    return plain(
        {
            "title": title, "alt": title, "margins": margins, "best": best, "last": len(margins) - 1, "done": False,
            "limits": (low - pad, high + pad), "crossed": [-1] * margins.shape[1], "steps": steps,
        }
    )  # fmt: skip


def plane_data(record: Slice) -> dict[str, Any]:
    """The plane through the box: its colours as a picture, the line where the margin is zero, the paths of PGD."""
    view = slice_view(record)
    span = 1.5 * float(np.abs(view.levels[[0, -1]]).max())
    colors = colormaps["PuOr"](Normalize(-span, span)(record.margins[::-1]), bytes=True)[..., :3]
    lines = contour_generator(record.across, record.up, record.margins).lines(0.0) if view.zero else []
    return plain(
        {
            "title": view.title, "alt": view.alt, "url": png_url(np.moveaxis(colors, -1, 0)),
            "across": record.across[[0, -1]], "up": record.up[[0, -1]], "zero": lines, "paths": record.paths,
            "margins": record.path_margins,
        }
    )  # fmt: skip


def layers_data(bounds: Sequence[MarginBounds]) -> dict[str, Any]:
    """Width of the bounds and share of unstable neurons, layer by layer and method by method, of one image."""
    return plain(layers_view([record for record in bounds if record.layers], 0))


def radius_data(curve: RadiusCurve, images: ImageSet) -> dict[str, Any]:
    """Bounds and attack against the radius."""
    return plain(radius_view(curve, class_names=images.class_names))


def image_data(
    images: ImageSet,
    row: int,
    normalization: Normalization,
    box: tuple[np.ndarray, np.ndarray],
    trace: AttackTrace | None,
    predicted: tuple[int, int | None],
) -> dict[str, Any]:
    """Original, lowest attack point and their difference, pixel levels and the box's ends for hovering."""
    levels = images.levels[row]
    lower, upper = (np.clip(normalization.to_pixels(side) * 255, 0, 255).round(1) for side in box)
    panels = [{"title": f"image: {images.name_of(predicted[0])}", "url": png_url(levels)}]
    if trace is not None:
        pixels = normalization.to_pixels(trace.points[0]) * 255
        moved = np.clip(pixels, 0, 255).round().astype(np.uint8)
        change = np.clip(128 + AMPLIFIED * (pixels - levels), 0, 255).astype(np.uint8)
        name = images.name_of(predicted[1]) if predicted[1] is not None else ""
        panels.append({"title": f"lowest point: {name}", "url": png_url(moved)})
        panels.append({"title": f"difference x {AMPLIFIED:.0f}", "url": png_url(change)})
    side = levels.shape[-1]
    alt = f"{images.name_of(int(images.labels[row]))}, image {int(images.indices[row])}; {len(panels)} pictures"
    return {
        "panels": panels, "side": side, "levels": levels.tolist(), "lower": lower.tolist(), "upper": upper.tolist(),
        "alt": alt,
    }  # fmt: skip


def set_data(verdicts: Sequence[Verdict], total: int) -> dict[str, Any]:
    """Counts by status, and how the natural margins of each status are spread over eight bins."""
    counts = {status: sum(v.status == status for v in verdicts) for status in STATUSES}
    margins = np.array([v.natural_margin for v in verdicts] or [0.0])
    edges = np.linspace(margins.min(), max(margins.max(), margins.min() + 1e-3), 9)
    bins = {
        status: np.histogram([v.natural_margin for v in verdicts if v.status == status], edges)[0]
        for status in STATUSES
    }
    hard = np.array([v.hardness for v in verdicts if v.status == "open" and v.hardness is not None])
    spread = np.linspace(hard.min(), max(hard.max(), hard.min() + 1e-3), 9) if len(hard) else np.zeros(0)
    said = ", ".join(f"{count} {status}" for status, count in counts.items())
    return plain(
        {
            "counts": counts,
            "total": total,
            "edges": edges,
            "bins": bins,
            "hardness": {"edges": spread, "counts": np.histogram(hard, spread)[0] if len(hard) else []},
            "alt": f"{len(verdicts)} settled of {total} images: {said}.",
        }
    )
