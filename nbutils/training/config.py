"""Settings of a training run and the named recipes."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field

import torch

from ..core import PUBLISHED_EPS, Settings, check_eps, require
from ..networks import ARCHITECTURES
from .losses import LOSSES, NEEDS_LIRPA

AUGMENTATIONS = ("none", "crop-flip", "crop-flip-cutout")
INITS = ("default", "certified")
VECTOR = 16
"""Numbers of float32 in the widest vector of a CPU that torch runs on, AVX-512."""


@dataclass(frozen=True, kw_only=True)
class TrainConfig(Settings):
    """Everything that decides the weights of a run. Radii are in pixel units, spans in epochs.

    The run has up to three phases: `natural_epochs` on clean images, then adversarial, and from `certified_from` on
    the certified loss as well, its weight and box ramped up over `ramp_epochs`. One cosine spans all of them.
    """

    network: str = "CIFAR100_resnet_small"
    seed: int = 0
    epochs: int = 30
    batch_size: int = 256
    validation: int = 5000  # training images set aside, chosen by the hash of their pixels
    augment: str = "crop-flip"

    start: str = ""  # fingerprint of the weights the run starts from; empty: weights drawn from the seed
    teachers: str = field(default="", metadata={"added": True})  # fingerprint of the networks behind the soft labels

    lr: float = 0.05  # peak, SGD with Nesterov momentum
    lr_end: float = 0.0  # at the end of the cosine, as a fraction of the peak
    momentum: float = 0.9
    warmup_epochs: float = 1.0  # linear from 0 to the peak, then cosine
    weight_decay: float = 5e-4  # on convolution and linear weights, not on norms and biases
    l1: float = 0.0  # weight of the sum of |w| over the same weights (De Palma et al. 2022)
    clip_norm: float = 5.0  # of the whole gradient
    label_smoothing: float = 0.0  # of the clean or adversarial cross entropy
    soft_labels: float = field(default=0.0, metadata={"added": True})  # share in its labels of what the teachers say
    ema: float = 0.0  # decay a step of the averaged weights; 0 switches averaging off
    init: str = "default"  # "certified": Shi et al. 2021

    eps: float = PUBLISHED_EPS  # radius of the certified box
    attack_eps: float = 1.0  # radius of the adversary as a multiple of eps
    attack_steps: int = 1  # 1 is FGSM from a random start; 0 uses the random start itself
    attack_step_size: float = 1.25  # a step as a multiple of the adversary's radius
    natural_epochs: int = 0

    shrunk_epochs: int = field(default=0, metadata={"added": True})  # first epochs, on images of `shrunk_side` pixels
    shrunk_side: int = field(default=0, metadata={"added": True})

    loss: str = "none"  # certified loss: "none" or one of losses.LOSSES
    certified_from: int = 0  # first epoch with a certified loss
    ramp_epochs: float = 0.0  # over which weight (linear) and box (geometric) grow
    weight: float = 0.1  # final share of the certified loss, the alpha of the papers
    box: float = (
        1.0  # final radius of the certified box as a multiple of eps, the lambda of SABR; of crown-row's intervals
    )
    box_start: float = 0.01  # the same at the start of the ramp
    bound_share: float = 1.0  # part of each batch that is bounded
    regularizer: float = 0.0  # weight of Shi et al. 2021's regularisers, fading out over the ramp

    bfloat16: bool = False  # autocast of the adversary and of its loss; bounds stay in float32
    channels_last: bool = True

    def __post_init__(self) -> None:
        require(self.network in ARCHITECTURES, "network", self.network, ", ".join(ARCHITECTURES))
        require(self.augment in AUGMENTATIONS, "augment", self.augment, ", ".join(AUGMENTATIONS))
        require(self.init in INITS, "init", self.init, ", ".join(INITS))
        require(self.loss == "none" or self.loss in LOSSES, "loss", self.loss, "none, " + ", ".join(LOSSES))
        check_eps(self.eps)
        for name, low, high in _WHOLE:
            value = getattr(self, name)
            ok = isinstance(value, int) and not isinstance(value, bool) and low <= value <= high
            require(ok, name, value, f"a whole number from {low} to {high}")
        for name, least, most in _RANGES:
            value = getattr(self, name)
            ok = isinstance(value, (int, float)) and not isinstance(value, bool) and least <= value <= most
            require(ok, name, value, f"a number from {least} to {most}")
        require(self.natural_epochs <= self.epochs, "natural_epochs", self.natural_epochs, f"at most {self.epochs}")
        require(self.shrunk_epochs < self.epochs, "shrunk_epochs", self.shrunk_epochs, f"below {self.epochs}")
        architecture = ARCHITECTURES[self.network]
        fits = not self.shrunk_epochs or (
            self.shrunk_side < architecture.size and architecture.side_of_features(self.shrunk_side) >= 1
        )
        allowed = f"fewer pixels than the {architecture.size} of {self.network}, and enough for its blocks"
        require(fits, "shrunk_side", self.shrunk_side, allowed)
        whole = self.loss == "none" or LOSSES[self.loss].bounds not in NEEDS_LIRPA
        allowed = f"{self.shrunk_epochs}, the shrunk_epochs, or more: the bounds of {self.loss} need whole images"
        require(whole or self.certified_from >= self.shrunk_epochs, "certified_from", self.certified_from, allowed)
        late = f"below {self.epochs}, the epochs of the run, or no loss but the adversarial one"
        require(self.loss == "none" or self.certified_from < self.epochs, "certified_from", self.certified_from, late)

    def certified_at(self, epoch: float) -> tuple[float, float, float]:
        """(weight, box, fraction of the ramp) at a time in `epoch`; weight 0 before the certified phase."""
        if self.loss == "none" or epoch < self.certified_from:
            return 0.0, self.box_start, 0.0
        done = 1.0 if self.ramp_epochs == 0 else min(1.0, (epoch - self.certified_from) / self.ramp_epochs)
        return self.weight * done, self.box_start * (self.box / self.box_start) ** done, done

    def side_at(self, epoch: int) -> int:
        """Height and width of the images of an epoch."""
        return self.shrunk_side if epoch < self.shrunk_epochs else ARCHITECTURES[self.network].size

    @property
    def layout(self) -> torch.memory_format:
        """Memory format of the network and of its images, the same on every machine.

        Narrow networks stay contiguous, whatever `channels_last` says: there oneDNN writes past a buffer of its own
        when it computes the weight gradient of a strided 1x1 convolution of fewer channels than its vectors hold
        numbers (8 with AVX2, 16 with AVX-512; oneDNN issue 6035, seen with torch 2.8). What comes out is noise, or a
        crash.
        """
        wide = ARCHITECTURES[self.network].narrowest_shortcut >= VECTOR
        return torch.channels_last if self.channels_last and wide else torch.contiguous_format

    @property
    def settled(self) -> float:
        """Epochs after which weights can become the best ones: loss and size of the images no longer change."""
        same = self.natural_epochs if self.loss == "none" else self.certified_from + self.ramp_epochs
        return max(same, self.shrunk_epochs + 1 if self.shrunk_epochs else 0)


_WHOLE = (
    ("seed", 0, 2**63 - 1),
    ("epochs", 1, 100_000),
    ("batch_size", 2, 100_000),
    ("validation", 0, 10_000_000),
    ("attack_steps", 0, 1000),
    ("natural_epochs", 0, 100_000),
    ("shrunk_epochs", 0, 100_000),
    ("shrunk_side", 0, 100_000),
    ("certified_from", 0, 100_000),
)
_RANGES = (
    ("lr", 0, 100),
    ("lr_end", 0, 1),
    ("momentum", 0, 0.9999),
    ("warmup_epochs", 0, 100_000),
    ("weight_decay", 0, 1),
    ("l1", 0, 1),
    ("clip_norm", 1e-6, 1e6),
    ("label_smoothing", 0, 0.9),
    ("soft_labels", 0, 1),
    ("ema", 0, 0.99999),
    ("attack_eps", 0, 100),
    ("attack_step_size", 0, 10),
    ("ramp_epochs", 0, 100_000),
    ("weight", 0, 1),
    ("box", 1e-6, 1),
    ("box_start", 1e-6, 1),
    ("bound_share", 1e-6, 1),
    ("regularizer", 0, 100),
)

_ADVERSARIAL = TrainConfig(bfloat16=True, attack_eps=1.5, ema=0.998)

RECIPES: dict[str, TrainConfig] = {
    "adversarial": _ADVERSARIAL,
    "ibp": dataclasses.replace(_ADVERSARIAL, loss="ibp", weight=0.5, init="certified", regularizer=0.5, ramp_epochs=20),
    "crown-ibp": dataclasses.replace(_ADVERSARIAL, loss="crown-ibp", weight=0.1, ramp_epochs=20, bound_share=0.25),
    # for last stages (`--start`): rows say nothing where intervals are wide. How large the small box should be is the
    # network's, and grows as it learns (`train --fit-box` finds it); the cards in onnx/ name what was used
    "crown-row": dataclasses.replace(
        _ADVERSARIAL,
        epochs=8,
        batch_size=128,
        lr=0.03,
        warmup_epochs=0.1,
        attack_eps=0.7,
        loss="crown-row",
        weight=0.1,
        box=0.015,
        box_start=0.005,
        ramp_epochs=0.5,
        bound_share=0.25,
    ),
    "mtl-ibp": dataclasses.replace(_ADVERSARIAL, loss="mtl-ibp", weight=0.01, ramp_epochs=20),
    "cc-ibp": dataclasses.replace(_ADVERSARIAL, loss="cc-ibp", weight=0.01, ramp_epochs=20),
    "exp-ibp": dataclasses.replace(_ADVERSARIAL, loss="exp-ibp", weight=0.01, ramp_epochs=20),
    # the settings of the run that made onnx/CIFAR100_resnet_small.onnx
    "sabr": dataclasses.replace(
        _ADVERSARIAL,
        epochs=42,
        batch_size=128,
        lr=0.06,
        attack_eps=0.7,
        loss="sabr",
        certified_from=24,
        ramp_epochs=2,
        weight=0.02,
        box=0.002,
        box_start=0.0003,
        bound_share=0.25,
    ),
}


def recipe(name: str, **changes: object) -> TrainConfig:
    """The recipe called `name`, with single settings changed.

    Raises:
        ParameterError: for an unknown recipe, an unknown setting or a value outside what is allowed.
    """
    require(name in RECIPES, "recipe", name, ", ".join(RECIPES))
    defaults = {field.name: field.default for field in dataclasses.fields(TrainConfig)}
    for setting, value in changes.items():
        require(setting in defaults, "recipe setting", setting, ", ".join(defaults))
        kind = type(defaults[setting])
        fits = isinstance(value, bool) == (kind is bool) and isinstance(value, (int, float) if kind is float else kind)
        require(
            fits, setting, value, {bool: "true or false", str: "a text", int: "a whole number", float: "a number"}[kind]
        )
    return dataclasses.replace(RECIPES[name], **changes)  # type: ignore[arg-type]
