"""How a network came about, as its card tells it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..networks import read_card
from . import checkpoint
from .config import TrainConfig
from .onnx_import import file_hash, is_onnx

CHANNELS = 3  # of the input of all five networks


def account(
    how: str,
    config: TrainConfig,
    history: Sequence[Mapping[str, Any]],
    start: Path | None = None,
    teachers: Sequence[Path] = (),
    notes: Sequence[str] = (),
    new_head: bool = False,
) -> str:
    """The recipe of a card: what was called, epochs, hours, seed, teachers, and the same of every earlier stage.

    Args:
        how: command or notebook with its settings.
        config: settings of the run.
        history: rows of its log.
        start: checkpoint or ONNX file that it began with.
        teachers: ONNX files behind its soft labels.
        notes: on its images, as what was left out.
        new_head: the linear layers were drawn anew, see `weights.first_weights`.
    """
    text = "; ".join((f"{how}; {_spent(config, history)}", *(f"training images: {note}" for note in notes)))
    if teachers:
        named = ", ".join(f"{path.name} (sha256 {file_hash(path)})" for path in teachers)
        text = f"{text}; soft labels are the mean of {named}"
    return text if start is None else f"{text}; {origin(start, new_head)}"


def origin(start: Path, new_head: bool = False) -> str:
    """What a run that begins with `start` builds on: the earlier run with its settings, and what that one began with.

    Of an ONNX file that is its hash, and what its card says of its own making, where there is one.

    Raises:
        CheckpointError: a checkpoint that is damaged or none.
        NetworkError: a card that is damaged or about another file.
    """
    part = ", all but the linear layers" if new_head else ""
    if is_onnx(start):
        digest = file_hash(start)
        made = read_card(start, digest, channels=CHANNELS).get("recipe", "")
        text = f"begins with the weights of {start.name}, sha256 {digest}{part}"
        return f"{text}; made by {made}" if made else text
    earlier, state = checkpoint.load(start)
    text = (
        f"begins with the averaged weights of a run with {changed(earlier)}{part}; {_spent(earlier, state['history'])}"
    )
    before = state.get("origin", "")  # older checkpoints have none
    return f"{text}; which {before}" if before else text


def changed(config: TrainConfig) -> str:
    """The settings that differ from the defaults, as NAME=VALUE words."""
    usual = TrainConfig().as_dict()
    return " ".join(f"{name}={value}" for name, value in config.as_dict().items() if value != usual.get(name))


def _spent(config: TrainConfig, history: Sequence[Mapping[str, Any]]) -> str:
    hours = sum(row["seconds"] for row in history) / 3600
    return f"{len(history)} of {config.epochs} epochs, {hours:.1f} h, seed {config.seed}, settings {config.digest}"
