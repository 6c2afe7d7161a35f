"""Random streams that depend on names, never on the order in which they are drawn.

A stream is keyed by SHA-256 over its names, so the numbers of one image do not change with batch
size, order of images, number of workers or a resumed run.
"""

from __future__ import annotations

import hashlib

import numpy as np


def stream(*names: str | int) -> np.random.Generator:
    """Generator keyed by `names`, for example `stream(seed, "start", image_id, restart)`.

    Philox is counter based and specified bit for bit (Salmon et al., SC 2011); its 128-bit key is the
    head of the SHA-256 of the names, joined by a separator that no name may contain.
    """
    text = "\x1f".join(f"{type(name).__name__}:{name}" for name in names)
    key = int.from_bytes(hashlib.sha256(text.encode()).digest()[:16], "little")
    return np.random.Generator(np.random.Philox(key=key))


def draw(ids: list[str] | tuple[str, ...], count: int, seed: int, purpose: str) -> list[int]:
    """Positions of `count` of `ids`, drawn without replacement, ascending.

    The draw ranks every id by its own hash with the seed: the order of `ids` does not matter, and an id
    keeps its rank when others are added or removed.
    """
    ranked = sorted(range(len(ids)), key=lambda row: (_rank(seed, purpose, ids[row]), ids[row]))
    return sorted(ranked[:count])


def _rank(seed: int, purpose: str, name: str) -> bytes:
    return hashlib.sha256(f"{purpose}\x1f{seed}\x1f{name}".encode()).digest()
