"""A run as a notebook asks for it: settings checked by name, images that fit, folders that can be written."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from ..core import ExportError, ImageSet, ParameterError, check_writable, require, root
from ..networks import ARCHITECTURES, ResNet
from . import checkpoint, log
from .config import RECIPES, TrainConfig, recipe
from .data import Loader, check_images, split
from .folder import TrainedOn, check_same_images
from .log import Step, TrainingLog, read_log, training_log
from .loop import LAST, train
from .onnx_export import export_onnx
from .provenance import account, changed
from .teachers import open_teachers
from .weights import first_weights, load_network, pick_device


def configure(name: str, settings: Mapping[str, Any], **own: Any) -> TrainConfig:
    """The recipe `name` with `settings` changed, and with those in `own`, which have parameters of their own.

    Raises:
        ParameterError: naming the parameter, in capitals as notebooks spell it, or the setting.
    """
    require(isinstance(settings, Mapping), "SETTINGS", settings, 'a dict of recipe settings, as {"lr": 0.1}')
    twice = [key for key in settings if key in (*own, "start", "teachers")]
    require(
        not twice, "SETTINGS", twice, "settings that have no parameter of their own", f"Set {', '.join(twice).upper()}"
    )
    try:
        return recipe(name, **own, **{str(key): value for key, value in settings.items()})
    except ParameterError as error:
        head, _, rest = str(error).partition(":")
        if head in ("recipe", *own):
            raise ParameterError(f"{head.upper()}:{rest}") from None
        raise ParameterError(f"SETTINGS, {error}") from None


def card_dataset(source: str, dataset: str | None) -> str | None:
    """Name of the data set for a network's card; None where nobody said it."""
    known = {"embedded": "cifar100", "cifar100": "cifar100", "tinyimagenet": "tinyimagenet"}
    return dataset or known.get(source)


@dataclass(frozen=True, eq=False)
class Plan:
    """A run that can begin or go on: everything that could be wrong with it has been looked at."""

    config: TrainConfig
    network: ResNet  # with the weights that the run began or will begin with
    images: ImageSet
    folder: Path  # of the run
    target: Path  # ONNX file
    start: Path | None
    teachers: tuple[Path, ...]
    device: torch.device
    new_head: bool = False  # of `start` all but the linear layers

    def describe(self) -> str:
        """What is trained on what, from where on, and where it is written, as plain text."""
        done = self.log().epochs
        state = f"{done} of {self.config.epochs} epochs done" if done else "new"
        part = ", all but the linear layers" if self.new_head else ""
        begun = "weights drawn from the seed" if self.start is None else f"weights of {self.start}{part}"
        asked = f"teachers  {', '.join(map(str, self.teachers))}\n" if self.teachers else ""
        count = len(self.images) - self.config.validation
        return (
            f"{self.config.network} on {count} images of {self.images.source}, {self.config.validation} set aside\n"
            f"settings  {changed(self.config)}\n"
            f"begins    {begun}, on {self.device}\n{asked}"
            f"run       {os.path.relpath(self.folder, root())} ({state})\n"
            f"export    {os.path.relpath(self.target, root())}"
        )

    def log(self) -> TrainingLog:
        """What the folder says about the run; no epochs where it has not begun."""
        begun = (self.folder / log.NAME).is_file() and (self.folder / log.SETTINGS).is_file()
        return read_log(self.folder) if begun else training_log(self.config, [])

    def train(
        self,
        *,
        on_epoch: Callable[[list[dict[str, Any]]], None] | None = None,
        on_batch: Callable[[Step], None] | None = None,
    ) -> ResNet:
        """Begin or continue, to the last epoch; the averaged network in evaluation mode. As `loop.train`."""
        network = train(
            self._asked, self.images, self.folder, start=self.start, new_head=self.new_head,
            teachers=self.teachers, device=self.device.type, on_epoch=on_epoch, on_batch=on_batch,
        )  # fmt: skip
        return network.to(self.device)

    def export(self, dataset: str | None, made_by: str) -> Path:
        """Write the averaged network of the last checkpoint as ONNX, with its card; the path of the file.

        Args:
            dataset: name of the data set, for the card.
            made_by: what the card's recipe begins with.
        """
        config, network, history = load_network(self.folder / LAST)
        text = f"{made_by} with {changed(config)} on {len(self.images)} images of {self.images.source}"
        text += ", on CUDA" if self.device.type == "cuda" else ""  # on a CPU the weights do not depend on the device
        return export_onnx(
            network, self.target, dataset=dataset, normalization=self.images.normalization,
            recipe=account(
                text, config, history, self.start, self.teachers, self.images.origin.notes, self.new_head
            ),
        )  # fmt: skip

    @property
    def _asked(self) -> TrainConfig:
        """The settings without the fingerprints of first weights and teachers, which `train` finds out itself."""
        return TrainConfig(**{**self.config.as_dict(), "start": "", "teachers": ""})


def plan_run(
    config: TrainConfig,
    images: ImageSet,
    *,
    start: Path | None = None,
    new_head: bool = False,
    teachers: Sequence[Path] = (),
    folder: Path | None = None,
    export: Path | None = None,
    device: str = "auto",
) -> Plan:
    """Check everything a run needs, without computing a batch or leaving a file.

    Args:
        config: its settings.
        images: what it is trained on.
        start: checkpoint or ONNX file that it begins with.
        new_head: take all but the linear layers of `start`, see `first_weights`.
        teachers: ONNX files behind its soft labels.
        folder: of the run; None names one in `runs/train` after network, settings, images and first weights.
        export: folder of the ONNX file; None is `onnx` in the run's folder.
        device: auto, cpu or cuda.

    Raises:
        CheckpointError: when `folder` holds a run of other settings or on other images.
        ExportError: when a folder cannot be written, or the ONNX file would replace one of the repository.
        ImageError, NetworkError, ParameterError: when images, network, `start` and settings do not fit.
    """
    place = pick_device(device)
    require(start is None or start.is_file(), "START", str(start), "None, a checkpoint or an ONNX file that exists")
    check_images(config, images)
    side = ARCHITECTURES[config.network].input_shape[-1]
    Loader(split(images, config.validation, side)[0], config, torch.device("cpu"))
    missing = [str(path) for path in teachers if not path.is_file()]
    require(not missing, "TEACHERS", missing, "ONNX files that exist")
    require(start is not None or not new_head, "NEW_HEAD", new_head, "False where START is None")
    config, network = first_weights(config, start, new_head)
    config, _ = open_teachers(config, teachers, place.type)
    if folder is None:
        folder = root() / "runs" / "train" / f"{config.network}-{_key(config, images)}"
    target = (folder / "onnx" if export is None else export) / f"{config.network}.onnx"
    taken = target.resolve().parent == (root() / "onnx").resolve() and target.exists()
    require(
        not taken,
        "EXPORT_DIR",
        str(target.parent),
        f"a folder without a {target.name} of the repository",
        "Move that file away first, with its card",
        error=ExportError,
    )
    if (folder / LAST).exists():
        check_same_images(folder / LAST, checkpoint.load(folder / LAST, config)[1], TrainedOn.of(images))
    for needed in (folder, target.parent):
        check_writable(needed)
    return Plan(config, network.to(place), images, folder, target, start, tuple(teachers), place, new_head)


def recipe_of(config: TrainConfig) -> str:
    """Name of the recipe whose loss `config` takes; its settings may be others."""
    return next((name for name, known in RECIPES.items() if known.loss == config.loss), config.loss)


def _key(config: TrainConfig, images: ImageSet) -> str:
    """Recipe and eight hex digits over settings and images: other ones get another folder."""
    text = json.dumps([config.as_dict(), images.keys])
    return f"{recipe_of(config)}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"
