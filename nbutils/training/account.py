"""How a network came about, as its card tells it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from .config import TrainConfig
from .loop import load_network
from .onnx_import import file_hash, is_onnx


def account(how: str, config: TrainConfig, history: Sequence[Mapping[str, Any]], start: Path | None = None) -> str:
    """The recipe of a card: what was called, epochs, hours, seed, and the same of what the run began with.

    Args:
        how: command or notebook with its settings.
        config: settings of the run.
        history: rows of its log.
        start: checkpoint or ONNX file that it began with.
    """
    text = f"{how}; {_spent(config, history)}"
    if start is None:
        return text
    if is_onnx(start):
        return f"{text}; begins with the weights of {start.name}, sha256 {file_hash(start)}"
    earlier, _, log = load_network(start)
    return f"{text}; begins with the averaged weights of a run with {changed(earlier)}; {_spent(earlier, log)}"


def changed(config: TrainConfig) -> str:
    """The settings that differ from the defaults, as NAME=VALUE words."""
    usual = TrainConfig().as_dict()
    return " ".join(f"{name}={value}" for name, value in config.as_dict().items() if value != usual[name])


def _spent(config: TrainConfig, history: Sequence[Mapping[str, Any]]) -> str:
    hours = sum(row["seconds"] for row in history) / 3600
    return f"{len(history)} of {config.epochs} epochs, {hours:.1f} h, seed {config.seed}, settings {config.digest}"
