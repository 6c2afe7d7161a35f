"""The training loop: epochs, schedule, averaged weights, validation, resume."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn
from tqdm.auto import tqdm

from ..core import ImageSet, require, write_atomically
from ..networks import ResNet, in_memory_format
from . import checkpoint, log
from .batches import adversarial_batch
from .config import TrainConfig
from .data import Loader, Pixels, check_images, split
from .folder import TrainedOn, TrainingError, check_same_images, held
from .log import Step
from .losses import LOSSES, NEEDS_LIRPA, training_loss
from .provenance import origin
from .resizing import reading
from .teachers import blend, open_teachers, soft_labels
from .validation import validate
from .weights import averaged_network, first_weights, pick_device
from .within import Within

LAST, BEST = "last.pt", "best.pt"
EVERY = 600.0
"""Seconds between checkpoints within an epoch: what a killed run loses at most."""


class Trainer:
    """State of one run in `out`, at its beginning until `resume` is called."""

    def __init__(
        self,
        config: TrainConfig,
        images: ImageSet,
        out: Path,
        device: torch.device,
        network: ResNet,
        began: str = "",  # what the first weights are, in words
    ) -> None:
        self.began = began
        self.soft: Tensor | None = None  # [training images, K], as `teachers.soft_labels`
        self.config, self.out, self.device = config, out, device
        self.network = network.to(device)
        check_images(config, images)
        training, validation = split(images, config.validation, network.architecture.input_shape[-1])
        self.loader = Loader(training, config, device)
        self.validation = validation
        self.images = TrainedOn.of(images)
        self.pixels = Pixels(images.stated_normalization(), device)
        self.network = in_memory_format(self.network, config.layout)
        self.optimizer = _optimizer(self.network, config)
        self.average = {name: value.clone() for name, value in self.network.state_dict().items()}
        self.epoch, self.step, self.within = 0, 0, Within()
        self.history: list[dict[str, Any]] = []
        self.best: float | None = None
        self.crown = None
        if config.loss != "none" and LOSSES[config.loss].bounds in NEEDS_LIRPA:
            from .crown import CrownBounds

            self.crown = CrownBounds(self.network, device)

    def resume(self) -> None:
        """Go on from the last checkpoint, where the folder has one.

        Raises:
            CheckpointError: when it is damaged, or of other settings or images.
        """
        if (self.out / LAST).exists():
            state = checkpoint.load(self.out / LAST, self.config)[1]
            check_same_images(self.out / LAST, state, self.images)
            self._restore(state)

    def run_epoch(self, progress: bool = True, on_batch: Callable[[Step], None] | None = None) -> dict[str, Any]:
        """Train one epoch, validate, write the checkpoints and the log; returns the epoch's row of the log."""
        self._train(progress, on_batch)
        row = {"epoch": self.epoch, **self.within.means, "lr": self._rate(self.step - 1)}
        row["weight"], row["box"], _ = self.config.certified_at(self.epoch + 1)
        row["train_seconds"] = self.within.seconds
        if self.config.shrunk_epochs:
            row["side"] = self.config.side_at(self.epoch)
        network = in_memory_format(averaged_network(self.config, self.average).to(self.device), self.config.layout)
        row |= validate(network, self.validation, self.pixels, self.config.eps, self.config.side_at(self.epoch))
        row["seconds"] = self.within.seconds
        self.epoch, self.within = self.epoch + 1, Within()
        self.history.append(row)
        score = row.get("validation_pgd")
        better = score is not None and self.epoch >= self.config.settled and (self.best is None or score > self.best)
        if better:
            self.best = score
        state = self._state()
        if better:
            checkpoint.save(self.out / BEST, self.config, state)
        checkpoint.save(self.out / LAST, self.config, state)
        lines = "".join(json.dumps(entry) + "\n" for entry in self.history)
        write_atomically(self.out / log.NAME, lambda file: file.write(lines.encode()))
        return row

    def _train(self, progress: bool, on_batch: Callable[[Step], None] | None) -> None:
        """The batches of the epoch that are not done yet."""
        config, total, first = self.config, self.loader.batches, self.within.begin().batches
        self.network.train()
        quick = total < 5  # an epoch of a few batches needs no bar of its own
        bar = tqdm(
            desc=f"epoch {self.epoch + 1}/{config.epochs}", total=total, initial=first,
            disable=quick or not progress, leave=False,
        )  # fmt: skip
        with bar:
            order = self.loader.order(self.epoch).split(config.batch_size)
            for number, (pixels, labels) in enumerate(self.loader.epoch(self.epoch, first), first):
                at = self.epoch + number / total
                targets = None if self.soft is None else blend(self.soft[order[number]], labels, config.soft_labels)
                weight, box, done = config.certified_at(at)
                with reading(self.network, pixels.shape[-1]):
                    batch = adversarial_batch(
                        config, self.network, self.pixels, pixels, labels, self.epoch, number, targets
                    )
                    terms = training_loss(
                        self.network,
                        batch,
                        config.loss,
                        weight=weight,
                        box=box,
                        bound_share=config.bound_share,
                        regularizer=config.regularizer * (1 - done),
                        label_smoothing=config.label_smoothing,
                        autocast=config.bfloat16,
                        crown=self.crown,
                    )
                loss = terms.total
                if config.l1 > 0:
                    loss = loss + config.l1 * sum(w.abs().sum() for w in self.optimizer.param_groups[0]["params"])
                self._descend(loss, number)
                certified = 0.0 if terms.certified is None else terms.certified.item()
                right = (terms.logits.argmax(1) == labels).float().mean().item()
                step = Step(self.epoch + (number + 1) / total, loss.item(), terms.base.item(), certified, right)
                self.within.add(step)
                if number + 1 < total and self.within.due(EVERY):
                    checkpoint.save(self.out / LAST, config, self._state())
                if on_batch is not None:
                    on_batch(step)
                bar.update()
                bar.set_postfix(loss=f"{self.within.means['loss']:.3f}", refresh=False)

    def _descend(self, loss: Tensor, number: int) -> None:
        require(
            bool(torch.isfinite(loss)),
            f"loss in epoch {self.epoch + 1}, batch {number}",
            loss.item(),
            "a finite number",
            "Lower lr, weight or box; the last checkpoint is intact",
            error=TrainingError,
        )
        config = self.config
        for group in self.optimizer.param_groups:
            group["lr"] = self._rate(self.step)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(self.network.parameters(), config.clip_norm)
        self.optimizer.step()
        self.step += 1
        # short memory at first, so that the average does not drag the initial weights along
        decay = min(config.ema, (1 + self.step) / (10 + self.step)) if config.ema > 0 else 0.0
        state = self.network.state_dict()
        smooth = [name for name, value in state.items() if value.dtype.is_floating_point and decay > 0]
        for name in state.keys() - set(smooth):
            self.average[name].copy_(state[name])
        if smooth:  # all at once: on CUDA one launch instead of a hundred
            get_ema_multi_avg_fn(decay)([self.average[name] for name in smooth], [state[name] for name in smooth], None)

    def _rate(self, step: int) -> float:
        """Learning rate of a step: linear warm-up, then half a cosine down to `lr_end` at the end of the run."""
        warm = self.config.warmup_epochs * self.loader.batches
        if step < warm:
            return self.config.lr * (step + 1) / warm
        span = max(1.0, self.config.epochs * self.loader.batches - warm)
        cosine = 0.5 * (1 + math.cos(math.pi * min(1.0, (step - warm) / span)))
        return self.config.lr * (self.config.lr_end + (1 - self.config.lr_end) * cosine)

    def _state(self) -> dict[str, Any]:
        return {
            "epoch": self.epoch,
            "step": self.step,
            "within": self.within.as_dict(),
            "best": self.best,
            "origin": self.began,
            "images": self.images.as_dict(),
            "history": self.history,
            "network": self.network.state_dict(),
            "average": self.average,
            "optimizer": self.optimizer.state_dict(),
        }

    def _restore(self, state: dict[str, Any]) -> None:
        self.epoch, self.step, self.best = state["epoch"], state["step"], state["best"]
        self.history, self.within = state["history"], Within.of(state)
        self.network.load_state_dict(state["network"])
        for name, value in state["average"].items():
            self.average[name].copy_(value)
        self.optimizer.load_state_dict(state["optimizer"])


def train(
    config: TrainConfig,
    images: ImageSet,
    out: Path,
    *,
    start: Path | None = None,
    new_head: bool = False,
    teachers: Sequence[Path] = (),
    device: str = "auto",
    progress: bool = True,
    until: int | None = None,
    on_epoch: Callable[[list[dict[str, Any]]], None] | None = None,
    on_batch: Callable[[Step], None] | None = None,
) -> ResNet:
    """Train in folder `out`, or go on from the checkpoint there, and return the averaged network in evaluation mode.

    Args:
        config: the recipe; a folder holds one run of one recipe.
        images: training images; `config.validation` of them are set aside.
        out: gets `last.pt` after each epoch and every ten minutes, `best.pt` (whole or absent, both), `log.jsonl` (a
            row an epoch) and `config.json`.
        start: weights this run begins with: the averaged ones of an earlier run's checkpoint, or those of an ONNX file.
        new_head: take convolutions and norms of `start` alone, of any architecture that has the same ones; the linear
            layers are drawn from the seed.
        teachers: ONNX files of classifiers whose mean is the run's soft labels (`soft_labels` in `config`).
        device: "auto" takes CUDA where there is one.
        until: stop after this many epochs; the schedule stays that of `config.epochs`.
        on_epoch: called after each epoch with all rows of the log.
        on_batch: called after each batch.

    Raises:
        CheckpointError: when `out` holds a damaged checkpoint, another run or one on other images.
        ExportError: when `out` cannot be written.
        ImageError, ParameterError: when images and network do not fit.
        NetworkError: when the ONNX file to start from holds another network.
        TrainingError: when the loss is no longer finite, or another process trains in `out`.
    """
    config, network = first_weights(config, start, new_head)
    began = "" if start is None else origin(start, new_head)
    place = pick_device(device)
    config, panel = open_teachers(config, teachers, place.type)
    trainer = Trainer(config, images, out, place, network, began)
    with held(out):
        if panel:
            trainer.soft = soft_labels(config, panel, trainer.loader.images, out, not progress)
        trainer.resume()
        text = json.dumps(config.as_dict(), indent=2) + "\n"
        write_atomically(out / "config.json", lambda file: file.write(text.encode()))
        last = config.epochs if until is None else min(until, config.epochs)
        with tqdm(
            total=config.epochs, initial=trainer.epoch, desc=config.network, unit="epoch", disable=not progress
        ) as bar:
            while trainer.epoch < last:
                row = trainer.run_epoch(progress, on_batch)
                bar.update()
                bar.set_postfix({key: row[key] for key in ("loss", "validation_clean", "validation_pgd") if key in row})
                if on_epoch is not None:
                    on_epoch(trainer.history)
    return averaged_network(config, trainer.average)


def _optimizer(network: ResNet, config: TrainConfig) -> torch.optim.SGD:
    weights = [p for p in network.parameters() if p.ndim > 1]
    others = [p for p in network.parameters() if p.ndim <= 1]
    groups = [{"params": weights, "weight_decay": config.weight_decay}, {"params": others, "weight_decay": 0.0}]
    return torch.optim.SGD(groups, lr=config.lr, momentum=config.momentum, nesterov=config.momentum > 0)
