"""The one definition of class margin and of the specification matrix."""

from __future__ import annotations

import numpy as np

from .errors import require
from .results import Margins


def rivals(labels: np.ndarray, classes: int) -> np.ndarray:
    """int64 [N, K-1]: for each label all other class numbers, ascending."""
    labels = np.asarray(labels, dtype=np.int64)
    require(classes >= 2, "classes", classes, "2 or more")
    require(bool(((labels >= 0) & (labels < classes)).all()), "label", labels.tolist(), f"0 to {classes - 1}")
    columns = np.arange(classes - 1)
    return columns[None] + (columns[None] >= labels[:, None])


def specification(labels: np.ndarray, classes: int) -> np.ndarray:
    """float32 [N, K-1, K]: row of rival j is e_label - e_j, so `C @ logits` are the class margins.

    Rows follow `rivals`. Source: specification matrix of Wong & Kolter 2018, as auto_LiRPA takes it.
    """
    others = rivals(labels, classes)
    identity = np.eye(classes, dtype=np.float32)
    return identity[np.asarray(labels)][:, None, :] - identity[others]


def class_margins(logits: np.ndarray, labels: np.ndarray) -> Margins:
    """Class margins of `logits` float32 [N, K] for the true `labels` [N].

    Example:
        >>> class_margins(np.float32([[2.0, 0.5, -1.0]]), np.array([0])).values
        array([[1.5, 3. ]], dtype=float32)
    """
    labels = np.asarray(labels, dtype=np.int64)
    require(logits.ndim == 2 and len(logits) == len(labels), "logits", logits.shape, f"[{len(labels)}, K]")
    others = rivals(labels, logits.shape[1])
    rows = np.arange(len(labels))
    values = logits[rows, labels][:, None] - np.take_along_axis(logits, others, axis=1)
    return Margins(values, others, labels, logits.argmax(axis=1))
