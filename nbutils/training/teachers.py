"""Soft labels: what other classifiers say of the training images, mixed into the labels of the ordinary cross entropy.

Source: distillation, Hinton et al. 2015 (arXiv 1503.02531), here at temperature 1 and from the image as it is stored
and its mirror image, computed once, not from each augmented copy; robust students, Goldblum et al. 2020
(arXiv 1905.09747). The certified loss keeps to the true labels, and so does the adversary.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F
from tqdm.auto import tqdm

from ..core import ImageSet, NetworkError, require, write_atomically
from ..networks import ARCHITECTURES
from . import checkpoint
from .config import TrainConfig
from .data import centers
from .folder import TrainedOn

if TYPE_CHECKING:
    from ..networks import Network

NAME = "soft_labels.pt"
_ROWS = 250  # images at once


def open_teachers(config: TrainConfig, paths: Sequence[Path], device: str) -> tuple[TrainConfig, list[Network]]:
    """The settings with the fingerprint of the teachers, and these in an order that does not depend on `paths`.

    Raises:
        NetworkError: when a file is damaged, says not how pixels are normalised, or takes other images or classes.
        ParameterError: when `soft_labels` and teachers do not come together, or a teacher comes twice.
    """
    asked = config.teachers
    if config.soft_labels == 0:
        require(not asked, "teachers", asked, "empty, as soft_labels is 0")
        require(not paths, "teachers", [str(path) for path in paths], "none, as soft_labels is 0", "Set soft_labels")
        return config, []
    from ..networks import open_network  # a second of imports that a run without teachers does without

    require(bool(paths), "teachers", "none", f"one or more ONNX files, as soft_labels is {config.soft_labels}")
    networks = sorted((open_network(path, device=device) for path in paths), key=lambda network: network.card.sha256)
    hashes = [network.card.sha256 for network in networks]
    require(len(set(hashes)) == len(hashes), "teachers", [str(path) for path in paths], "each network once")
    wanted = ARCHITECTURES[config.network]
    for network in networks:
        found = (network.input_shape, network.classes)
        allowed = (wanted.input_shape, wanted.classes)
        require(found == allowed, f"{network.path}: input and classes", found, str(allowed), error=NetworkError)
        said = network.normalization is not None
        require(said, f"{network.path}: normalisation", "none", "mean and std on its card", error=NetworkError)
    fingerprint = hashlib.sha256("\n".join(hashes).encode()).hexdigest()
    require(asked in ("", fingerprint), "teachers", asked, f"empty, or {fingerprint}, which these networks have")
    return replace(config, teachers=fingerprint), networks


def soft_labels(
    config: TrainConfig, networks: Sequence[Network], images: ImageSet, folder: Path, quiet: bool
) -> Tensor:
    """Probabilities float32 [N, K]: the mean over `networks` and over each image and its mirror image.

    They are kept in `folder`, so that a run that goes on has the same to the bit, and only computed where nothing
    whole of these teachers and images lies there.
    """
    images = centers(images, networks[0].input_shape[-1])
    known = {"teachers": config.teachers, "images": TrainedOn.of(images).sha256}
    path = folder / NAME
    kept = _read(path, known)
    if kept is not None:
        return kept
    total = torch.zeros(len(images), networks[0].classes, dtype=torch.float64)
    with tqdm(total=len(images) * len(networks), desc="soft labels", unit="image", disable=quiet, leave=False) as bar:
        for network in networks:
            for row in range(0, len(images), _ROWS):
                levels = images.levels[row : row + _ROWS]
                for view in (levels, levels[..., ::-1]):
                    pixels = np.ascontiguousarray(view).astype(np.float32) / np.float32(255)
                    assert network.normalization is not None  # see `open_teachers`
                    logits = network.logits(network.normalization.to_network(pixels))
                    total[row : row + len(levels)] += torch.from_numpy(logits).double().softmax(1)
                bar.update(len(levels))
    labels = (total / (2 * len(networks))).float()
    content = {**known, "labels": labels, "fingerprint": checkpoint.fingerprint(labels)}
    write_atomically(path, lambda file: torch.save(content, file))
    return labels


def blend(soft: Tensor, labels: Tensor, share: float) -> Tensor:
    """Probabilities [B, K]: `share` of the soft labels [B, K], the rest on `labels` int64 [B]."""
    soft = soft.to(labels.device)
    return share * soft + (1 - share) * F.one_hot(labels, soft.shape[1])


def _read(path: Path, known: dict[str, str]) -> Tensor | None:
    """Labels that a run before left at `path`, or None where they are missing, damaged or of something else."""
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
        labels = content["labels"]
        whole = content["fingerprint"] == checkpoint.fingerprint(labels)
    except Exception:  # a damaged file is computed anew
        return None
    return labels if whole and all(content.get(key) == value for key, value in known.items()) else None
