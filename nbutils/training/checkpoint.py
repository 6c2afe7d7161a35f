"""Checkpoints that are whole or absent: written aside, synced, renamed; read without pickle; fingerprinted."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..core import WorkbenchError, require, write_atomically
from .config import TrainConfig

FORMAT = 1
RESUME = "a new output folder, or the settings the run was started with, as its config.json lists them"


class CheckpointError(WorkbenchError):
    """A checkpoint that is damaged or belongs to another network or recipe."""


def save(path: Path, config: TrainConfig, state: Mapping[str, Any]) -> None:
    """Write `state` (tensors and plain values, nested) with the settings that made it."""
    content = {
        "format": FORMAT,
        "network": config.network,
        "config": json.dumps(config.as_dict(), sort_keys=True),
        "digest": config.digest,
        "fingerprint": fingerprint(state),
        "state": dict(state),
    }
    write_atomically(path, lambda file: torch.save(content, file))


def load(path: Path, config: TrainConfig | None = None) -> tuple[TrainConfig, dict[str, Any]]:
    """Settings and state of a checkpoint, tensors on the CPU.

    Args:
        path: a file written by `save`.
        config: settings that the checkpoint has to have been made with; None takes any.

    Raises:
        CheckpointError: when the file is missing, damaged, of another network or of other settings.
    """
    require(path.is_file(), str(path), "no such file", "a checkpoint of a training run", error=CheckpointError)
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
        made_with = TrainConfig(**json.loads(content["config"]))
        state, sound = content["state"], content["format"] == FORMAT
        sound = sound and content["fingerprint"] == fingerprint(content["state"])
    except WorkbenchError:
        raise
    except Exception as error:
        raise CheckpointError(
            f"{path}: found a damaged file or none of ours ({type(error).__name__}); "
            "allowed: a checkpoint of this version. Delete it to start over, or restore it from a copy."
        ) from error
    require(
        sound,
        str(path),
        "contents that do not match their fingerprint",
        "an undamaged checkpoint of this version",
        "Delete it to start over, or restore it from a copy",
        error=CheckpointError,
    )
    if config is not None:
        require(
            made_with.network == config.network,
            str(path),
            f"a checkpoint of {made_with.network}",
            config.network,
            f"Use {RESUME}",
            error=CheckpointError,
        )
        ours, theirs = config.as_dict(), made_with.as_dict()
        usual = {field.name: field.default for field in dataclasses.fields(TrainConfig)}
        ours, theirs = usual | ours, usual | theirs
        differing = {key: theirs[key] for key in ours if ours[key] != theirs[key]}
        require(
            not differing,
            f"{path}: settings",
            differing,
            str({key: ours[key] for key in differing}),
            f"Use {RESUME}",
            error=CheckpointError,
        )
    return made_with, state


def fingerprint(value: Any) -> str:
    """SHA-256 over nested dicts, lists, tensors and plain values."""
    digest = hashlib.sha256()

    def feed(item: Any) -> None:
        if isinstance(item, Mapping):
            for key in item:
                digest.update(f"{key!r}:".encode())
                feed(item[key])
        elif isinstance(item, (list, tuple)):
            digest.update(f"[{len(item)}".encode())
            for entry in item:
                feed(entry)
        elif isinstance(item, Tensor):
            digest.update(f"{item.dtype}{tuple(item.shape)}".encode())
            digest.update(item.detach().cpu().contiguous().numpy().tobytes())
        else:
            digest.update(repr(item).encode())

    feed(value)
    return digest.hexdigest()
