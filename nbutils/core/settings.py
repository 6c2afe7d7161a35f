"""Settings as frozen, validated, hashable records; paths of the checkout; the radius and its spelling.

Settings that change a result are part of `digest`; settings that only change how fast it comes are not
(field metadata `speed`). A setting that came later (metadata `added`) is left out while it has its default, so that
digests and checkpoints from before it stay valid.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, cast, get_args

from .errors import ParameterError, require

Loss = Literal["margin", "cross_entropy"]
Method = Literal["ibp", "crown-ibp", "crown", "alpha-crown"]
METHODS: tuple[Method, ...] = get_args(Method)
LOSSES: tuple[str, ...] = get_args(Loss)
PUBLISHED_EPS = 1 / 255
"""Radius of the published benchmark, L-infinity, in pixel units (VNN-COMP 2022)."""

_speed = {"speed": True}


def check_whole(name: str, value: object, low: int, high: int) -> None:
    """Refuse anything but a whole number from `low` to `high`."""
    ok = isinstance(value, int) and not isinstance(value, bool) and low <= value <= high
    require(ok, name, value, f"a whole number from {low} to {high}")


def check_number(name: str, value: object, low: float, high: float, unit: str) -> None:
    """Refuse anything but a number above `low` and at most `high`; `unit` says what it counts."""
    ok = isinstance(value, (int, float)) and not isinstance(value, bool) and low < value <= high
    require(ok, name, value, f"{unit}, above {low} and at most {high}")


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Base of all settings: a digest over every field that can change a result."""

    def as_dict(self) -> dict[str, Any]:
        """Fields that can change a result, as JSON types; a whole number where a float belongs is one: 2 is 2.0."""
        kept = [f for f in dataclasses.fields(self) if not f.metadata.get("speed")]
        late = {f.name for f in kept if f.metadata.get("added") and getattr(self, f.name) == f.default}
        return {f.name: self._plain(f) for f in kept if f.name not in late}

    def _plain(self, field: dataclasses.Field[Any]) -> Any:
        value = getattr(self, field.name)
        if isinstance(value, Settings):
            return value.as_dict()
        return float(value) if field.type == "float" and isinstance(value, int) else value

    @property
    def digest(self) -> str:
        """Twelve hex digits of the SHA-256 over `as_dict`, equal for equal settings."""
        text = json.dumps({type(self).__name__: self.as_dict()}, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:12]


@dataclass(frozen=True, kw_only=True)
class AttackConfig(Settings):
    """Projected gradient descent on the class margin (Madry et al. 2018), with restarts.

    The radius is not here: it is the box's.

    Example:
        >>> AttackConfig(steps=20, restarts=3).restarts
        3
        >>> AttackConfig(steps=-1)
        Traceback (most recent call last):
        nbutils.core.errors.ParameterError: steps: found -1; allowed: 0 to 100000.
    """

    steps: int = 100  # gradient steps a restart; 0 leaves the random starts
    restarts: int = 20  # independent random starts, uniform in the box
    step_size: float = 0.25  # length of one step as a fraction of the box's half-width, element by element
    loss: Loss = "margin"  # what is descended: the smallest margin, or minus the cross entropy
    seed: int = 0  # of the random starts
    early_stop: bool = True  # stop an image at the first step with a rival ahead

    def __post_init__(self) -> None:
        check_whole("steps", self.steps, 0, 100_000)
        check_whole("restarts", self.restarts, 1, 100_000)
        check_number("step_size", self.step_size, 0, 2, "a fraction of the box's half-width")
        require(self.loss in LOSSES, "loss", self.loss, " or ".join(LOSSES))
        check_whole("seed", self.seed, 0, 2**63 - 1)


@dataclass(frozen=True, kw_only=True)
class BoundsConfig(Settings):
    """How lower bounds of the margins are computed.

    Example:
        >>> [BoundsConfig(method=method).tolerance for method in ("ibp", "crown")]
        [0.0001, 0.0001]
    """

    method: Method = "crown"
    alpha_steps: int = 20  # gradient steps of alpha-CROWN
    alpha_lr: float = 0.5  # step length of alpha-CROWN
    tolerance: float = 1e-4  # a lower bound counts as proof only above this many logits
    memory_gb: float = field(default=12.0, metadata=_speed)  # linear bounds are chunked to stay below

    def __post_init__(self) -> None:
        check_method(self.method)
        check_whole("alpha_steps", self.alpha_steps, 1, 10_000)
        check_number("alpha_lr", self.alpha_lr, 0, 100, "a step length")
        require(
            isinstance(self.tolerance, (int, float)) and 0 <= self.tolerance < math.inf,
            "tolerance",
            self.tolerance,
            "a number of logits, 0 or more",
        )
        check_number("memory_gb", self.memory_gb, 0, 100_000, "gigabytes")

    def by(self, method: str) -> BoundsConfig:
        """The same settings for another method."""
        return replace(self, method=cast(Method, method))


@dataclass(frozen=True, kw_only=True)
class SelectionConfig(Settings):
    """What an image has to pass to become `open`.

    Example:
        >>> SelectionConfig(eps=2 / 255, attack=AttackConfig(steps=20)).attack.restarts
        20
    """

    eps: float = PUBLISHED_EPS  # radius, L-infinity, pixel units
    attack: AttackConfig = field(default_factory=AttackConfig)
    bounds: BoundsConfig = field(default_factory=BoundsConfig)

    def __post_init__(self) -> None:
        check_eps(self.eps)


def check_eps(eps: object) -> float:
    """`eps` itself, once it is a radius in pixel units, strictly between 0 and 1."""
    hint = "pixels lie in [0, 1]: write 2/255, not 2"
    ok = isinstance(eps, (int, float)) and not isinstance(eps, bool) and 0 < eps < 1
    require(ok, "eps", eps, "a radius in pixel units, above 0 and below 1", hint)
    return float(eps)  # type: ignore[arg-type]


def parse_eps(text: str) -> float:
    """Radius from `2/255` or `0.0078`, in pixel units; the fraction is divided in float64."""
    above, slash, below = text.partition("/")
    try:
        value = float(above) / float(below) if slash else float(text)
    except (ValueError, ZeroDivisionError):
        value = math.nan
    if not math.isfinite(value):
        raise ParameterError(f"eps: found {text!r}; allowed: a fraction as 2/255 or a decimal as 0.0078.")
    return check_eps(value)


def eps_from_255(steps: Any) -> float:
    """Radius in pixel units from a number of 1/255 pixel steps (the notebooks' `EPS_255`)."""
    ok = isinstance(steps, (int, float)) and not isinstance(steps, bool) and 0 < steps < 255
    require(
        ok,
        "EPS_255",
        steps,
        "a number of 1/255 pixel steps, above 0 and below 255",
        "the published radius is 1.0, which means 1/255",
    )
    require(
        steps >= 0.05,
        "EPS_255",
        steps,
        "a number of 1/255 pixel steps, 0.05 or more",
        "write 1.0 for a radius of 1/255, not 1/255 itself",
    )
    return check_eps(steps / 255)


def check_method(method: object) -> None:
    """Refuse a bound method that is not one of `METHODS`."""
    require(method in METHODS, "method", method, ", ".join(METHODS))


def check_methods(methods: object) -> None:
    """Refuse anything but a list of one or more bound methods, each once."""
    require(isinstance(methods, (list, tuple)) and len(methods) > 0, "METHODS", methods, "a list of bound methods")
    for method in methods:  # type: ignore[attr-defined]
        check_method(method)
    require(len(set(methods)) == len(methods), "METHODS", methods, "each method once")  # type: ignore[call-overload,arg-type]


def root() -> Path:
    """Folder of the checkout: the nearest one, from here upwards, with nbutils' `pyproject.toml`.

    Looks from this module first and from the working directory second, so notebooks started anywhere
    in the checkout find `onnx/` and `vnnlib/`.
    """
    for start in (Path(__file__).resolve().parent, Path.cwd()):
        for folder in (start, *start.parents):
            marker = folder / "pyproject.toml"
            if marker.is_file() and 'name = "nbutils"' in marker.read_text(encoding="utf-8"):
                return folder
    raise ParameterError(f"working directory: found {Path.cwd()}; allowed: a folder inside the nbutils checkout.")
