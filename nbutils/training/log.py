"""What a run has written about itself, as numbers that can be drawn: its log, and single batches while it runs."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np

from ..core import WorkbenchError, require
from .config import TrainConfig

NAME = "log.jsonl"
SETTINGS = "config.json"


class LogError(WorkbenchError):
    """A log that is missing or damaged."""


@dataclass(frozen=True)
class Step:
    """One batch: where the run stands, and means over the batch."""

    at: float  # epochs done
    loss: float  # what was descended
    base: float  # natural or adversarial cross entropy
    certified: float  # certified loss; 0 while there is none
    accuracy: float  # share of the points trained on that were classified correctly


@dataclass(frozen=True, eq=False)
class TrainingLog:
    """A run epoch by epoch, finished or not: float64 [E] each, NaN where nothing was measured."""

    config: TrainConfig
    loss: np.ndarray  # mean over the epoch of what was descended
    base: np.ndarray  # natural or adversarial cross entropy
    certified: np.ndarray  # certified loss; 0 before the certified phase
    accuracy: np.ndarray  # %, of the points trained on, with the weights of that moment
    lr: np.ndarray  # of the last step
    weight: np.ndarray  # share of the certified loss at the epoch's end
    box: np.ndarray  # radius of the certified box at the epoch's end, as a multiple of eps
    validation_clean: np.ndarray  # %, images set aside, averaged weights
    validation_pgd: np.ndarray  # %, the same under a short PGD
    seconds: np.ndarray

    @property
    def epochs(self) -> int:
        """Epochs done."""
        return len(self.loss)

    @property
    def finished(self) -> bool:
        """Whether all epochs of the schedule are done."""
        return self.epochs >= self.config.epochs


def training_log(config: TrainConfig, history: Sequence[Mapping[str, Any]]) -> TrainingLog:
    """The rows of a run, as `on_epoch` and checkpoints hand them over, as one record."""
    names = [field.name for field in fields(TrainingLog) if field.name != "config"]
    columns = {name: np.array([row.get(name, np.nan) for row in history], dtype=np.float64) for name in names}
    columns["accuracy"] = 100 * columns["accuracy"]
    return TrainingLog(config, **columns)


def read_log(folder: Path) -> TrainingLog:
    """The log of the run in `folder`; the run may be going on in another process, each row is whole or absent.

    Raises:
        LogError: when `folder` holds no run, no finished epoch, or files that are not a run's.
    """
    texts = {}
    for name, what in ((SETTINGS, "the settings of a run"), (NAME, "a run with a finished epoch")):
        path = folder / name
        require(path.is_file(), str(path), "no such file", what, error=LogError)
        texts[name] = path.read_bytes()
    try:
        config = TrainConfig(**json.loads(texts[SETTINGS]))
        rows = [json.loads(line) for line in texts[NAME].splitlines()]
        return training_log(config, rows)
    except WorkbenchError:
        raise
    except Exception as error:
        raise LogError(
            f"{folder}: found {SETTINGS} or {NAME} damaged ({type(error).__name__}); allowed: those of a training run."
        ) from error
