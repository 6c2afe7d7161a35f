"""How far a run is within the epoch at hand, so that it can go on from the middle of one."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from .log import Step

TERMS = ("loss", "base", "certified", "accuracy")


@dataclass
class Within:
    """Batches that are done of an epoch, the sums of their terms, and the seconds they took."""

    batches: int = 0
    sums: dict[str, float] = field(default_factory=lambda: dict.fromkeys(TERMS, 0.0))
    before: float = 0.0  # seconds that other processes spent on this epoch
    began: float = field(default_factory=time.perf_counter)
    saved: float = field(default_factory=time.perf_counter)  # when a checkpoint was written last

    def begin(self) -> Within:
        """Count seconds from now on."""
        self.began = self.saved = time.perf_counter()
        return self

    def add(self, step: Step) -> None:
        """Count one batch."""
        self.batches += 1
        for term in TERMS:
            self.sums[term] += getattr(step, term)

    @property
    def seconds(self) -> float:
        """Spent on this epoch, all processes together, rounded to hundredths."""
        return round(self.before + time.perf_counter() - self.began, 2)

    @property
    def means(self) -> dict[str, float]:
        """Of the terms, over the batches done; as the log has them."""
        return {term: round(value / max(1, self.batches), 5) for term, value in self.sums.items()}

    def due(self, seconds: float) -> bool:
        """Whether the last checkpoint is so old; from now on it is counted anew."""
        old = time.perf_counter() - self.saved >= seconds
        if old:
            self.saved = time.perf_counter()
        return old

    def as_dict(self) -> dict[str, Any]:
        """For a checkpoint."""
        return {"batches": self.batches, "sums": dict(self.sums), "seconds": self.seconds}

    @classmethod
    def of(cls, state: Mapping[str, Any]) -> Within:
        """From a checkpoint; those of earlier versions, written between epochs only, have nothing about it."""
        kept = state.get("within")
        return cls() if kept is None else cls(kept["batches"], dict(kept["sums"]), kept["seconds"])
