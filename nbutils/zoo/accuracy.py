"""Accuracy of a network on a set of images: clean, under PGD, and proved by each bound method.

An image counts as PGD accurate when it is classified correctly and no attacked point has a rival level or ahead, and
as verified by a method when it is PGD accurate and the method's lower bounds are all above the tolerance. A bound is
not asked for where an attack has succeeded: no sound method could prove such an image.
"""

from __future__ import annotations

import json
import math
import os
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TextIO

from tqdm.auto import tqdm

from ..attacks import run_attack
from ..bounds import checked, margin_bounds
from ..core import (
    AttackConfig,
    BoundsConfig,
    BoundsError,
    Box,
    ImageSet,
    LedgerError,
    SelectionConfig,
    Verdict,
    check_eps,
    check_method,
    class_margins,
    foreign_json,
    require,
)
from ..networks import Figure, Network, figure_name, normalization_of
from ..selection import check_fit


@dataclass(frozen=True)
class Share:
    """`count` of `n` images, with the Wilson interval at 95 % (Wilson 1927), all in per cent."""

    count: int
    n: int
    low: float = field(init=False)
    high: float = field(init=False)

    def __post_init__(self) -> None:
        low, high = wilson(self.count, self.n)
        object.__setattr__(self, "low", 100 * low)
        object.__setattr__(self, "high", 100 * high)

    @property
    def percent(self) -> float:
        """The share in percent."""
        return 100 * self.count / self.n

    def __str__(self) -> str:
        return f"{self.percent:.2f} % ({self.count} of {self.n}; 95 % interval {self.low:.1f} to {self.high:.1f})"


@dataclass(frozen=True)
class Evaluation:
    """What `evaluate` measured; shares by name: `clean`, `pgd`, then the methods."""

    network: str
    source: str
    eps: float
    shares: dict[str, Share]
    seconds: dict[str, float]  # mean seconds of an image that the step was run on; empty where nobody timed it
    attack: AttackConfig  # of `pgd`

    def figures(self, command: str) -> dict[str, Figure]:
        """The shares as a card's figures, with the command that measured them."""
        figures = {}
        for name, share in self.shares.items():
            eps = None if name == "clean" else self.eps
            size = (self.attack.steps, self.attack.restarts) if name == "pgd" else (None, None)
            text = f"{share.n} {self.source} images" + ("" if eps is None else f", eps {eps:.6g}")
            value, low, high = (round(number, 2) for number in (share.percent, share.low, share.high))
            figures[figure_name(name)] = Figure(value, "%", text, command, low, high, share.n, eps, *size)
        return figures


def evaluation_of(verdicts: Sequence[Verdict], network: str, source: str, config: SelectionConfig) -> Evaluation:
    """The same accuracies out of the funnel's `verdicts`, which settle them without a further computation.

    Clean is what is not misclassified. PGD is what is verified or open: no attack breaks a verified image, and the full
    one has failed on an open image. Verified is what `config.bounds.method` or a cheaper bound settled.

    Args:
        verdicts: of the funnel's first stage, one for each image; a second stage's attack is another one than PGD.
        network, source: names for the record.
        config: radius, attack and bounds that the verdicts are about.
    """
    require(len(verdicts) > 0, "verdicts", 0, "those of at least one image")
    status = Counter(verdict.status for verdict in verdicts)
    survived = status["verified"] + status["open"]
    counts = {"clean": survived + status["attacked"], "pgd": survived, config.bounds.method: status["verified"]}
    shares = {name: Share(count, len(verdicts)) for name, count in counts.items()}
    return Evaluation(network, source, config.eps, shares, {}, config.attack)


def wilson(count: int, n: int, z: float = 1.959964) -> tuple[float, float]:
    """Wilson score interval of the share `count` / `n`; z = 1.96 standard deviations are 95 %."""
    require(n >= 1 and 0 <= count <= n, "count", (count, n), "0 to n successes of n >= 1 trials")
    share = count / n
    middle = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    return max(0.0, middle - half), min(1.0, middle + half)


def evaluate(
    network: Network,
    images: ImageSet,
    *,
    eps: float,
    attack: AttackConfig | None = None,
    methods: Sequence[str] = ("ibp", "crown-ibp", "crown"),
    bounds: BoundsConfig | None = None,
    record: Path | None = None,
    progress: bool = False,
) -> Evaluation:
    """Clean, PGD and verified accuracy of `network` on `images` at radius `eps` (pixel units).

    Args:
        attack: settings of PGD; by default 100 steps and 20 restarts.
        methods: bound methods, each run on every image that survived PGD.
        bounds: their other settings; its own method is not used.
        record: JSON lines file with a line for each image and step; a killed evaluation goes on from it, another number
            of images or another method adds to it.

    Raises:
        ParameterError: for an eps or method that is not allowed.
        NetworkError: for images of another shape or number of classes.
        LedgerError: when `record` is about another network, radius or normalisation, or cannot be written.
    """
    attack, bounds = attack or AttackConfig(), bounds or BoundsConfig()
    check_eps(eps)
    require(len(images) > 0, "number of images", 0, "1 or more")
    for method in methods:
        check_method(method)
    require(len(set(methods)) == len(methods), "methods", list(methods), "each method once")
    check_fit(network, images)
    for check in (checked(network, method) for method in methods):
        require(check.holds, f"{network.name}: {check.method}", check.reason, "a method that holds", error=BoundsError)
    settings = {method: bounds.by(method) for method in methods}
    steps = {"clean": "clean", "pgd": f"pgd {attack.digest}"}
    steps |= {method: f"{method} {setting.digest}" for method, setting in settings.items()}
    normalization = normalization_of(network, images)
    log = _Record(
        record,
        {"network": network.card.sha256, "eps": eps, "mean": normalization.mean, "std": normalization.std},
    )
    with log, tqdm(range(len(images)), desc=f"evaluate {network.name}", unit="image", disable=not progress) as bar:
        for row in bar:
            image = images.take([row])
            box = Box.around(image.pixels, normalization, eps)

            def natural(image: ImageSet = image, box: Box = box) -> float:
                return float(class_margins(network.judge(box.center), image.labels).smallest[0])

            def attacked(image: ImageSet = image, box: Box = box) -> float:
                return float(run_attack(network, box, image.labels, image.ids, attack).smallest[0])

            def bounded(method: str, image: ImageSet = image, box: Box = box) -> float:
                return float(
                    margin_bounds(network, box, image.labels, settings[method], only_smallest=True).smallest[0]
                )

            if log.value(image.keys[0], steps["clean"], natural) <= 0:
                continue
            if log.value(image.keys[0], steps["pgd"], attacked) <= 0:
                continue
            for method in methods:
                log.value(image.keys[0], steps[method], lambda method=method, f=bounded: f(method))
    counts = {"clean": 0, "pgd": 0} | dict.fromkeys(methods, 0)
    for key in images.keys:
        for name, step in steps.items():
            threshold = 0.0 if name in ("clean", "pgd") else bounds.tolerance
            counts[name] += log.margins.get((key, step), -math.inf) > threshold
    seconds = {name: log.mean_seconds(step) for name, step in steps.items()}
    shares = {name: Share(count, len(images)) for name, count in counts.items()}
    return Evaluation(network.name, images.source, eps, shares, seconds, attack)


class _Record:
    """Margins by (key of an image, step), kept in memory and, line by line, in a file.

    The key has the label in it (`ImageSet.keys`): margins of equal images under two labels are not the same.
    """

    def __init__(self, path: Path | None, header: dict[str, Any]) -> None:
        self.path = path
        self.file: TextIO | None = None
        self.header = json.loads(json.dumps(header))
        self.margins: dict[tuple[str, str], float] = {}
        self.seconds: dict[str, list[float]] = {}

    def __enter__(self) -> _Record:
        if self.path is None:
            return self
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            whole = self._read() if self.path.exists() else 0
            self.file = self.path.open("a", encoding="utf-8")
            os.ftruncate(self.file.fileno(), whole)  # a line cut off by a kill is measured again
            if whole == 0:
                self._write(self.header)
        except OSError as error:
            raise LedgerError(f"{self.path}: cannot be used ({error.strerror}). Choose another file.") from error
        return self

    def __exit__(self, *_: object) -> None:
        if self.file is not None:
            self.file.close()

    def value(self, key: str, step: str, measure: Any) -> float:
        """The margin on record, measured now where there is none."""
        if (key, step) not in self.margins:
            began = time.perf_counter()
            margin = measure()
            self._keep(key, step, margin, round(time.perf_counter() - began, 4))
            if self.file is not None:
                self._write([key, step, margin, self.seconds[step][-1]])
        return self.margins[key, step]

    def mean_seconds(self, step: str) -> float:
        """Mean seconds of `step` over the images it was run on; 0 where it never was."""
        spent = self.seconds.get(step, [])
        return sum(spent) / len(spent) if spent else 0.0

    def _keep(self, key: str, step: str, margin: float, seconds: float) -> None:
        self.margins[key, step] = margin
        self.seconds.setdefault(step, []).append(seconds)

    def _write(self, line: Any) -> None:
        assert self.file is not None
        try:
            self.file.write(json.dumps(line) + "\n")
            self.file.flush()
        except OSError as error:
            raise LedgerError(
                f"{self.path}: cannot be written ({error.strerror}). Free space and run the same command again."
            ) from error

    def _read(self) -> int:
        """Take in every complete line; returns their length in bytes."""
        assert self.path is not None
        data = self.path.read_bytes()
        whole = data.rfind(b"\n") + 1
        header = json.dumps(self.header).encode() + b"\n"
        lines = data[:whole].decode("utf-8", errors="replace").splitlines()
        try:
            if not whole and not header.startswith(data):  # of the first line a kill may have left a part
                raise ValueError
            entries = [foreign_json.parse(line) for line in lines]
            for key, step, margin, seconds in entries[1:]:
                self._keep(key, step, float(margin), float(seconds))
        except (ValueError, TypeError) as error:
            raise LedgerError(
                f"{self.path}: found a line that is no measurement; allowed: a record of `evaluate`. "
                "Choose another file."
            ) from error
        require(
            not entries or entries[0] == self.header,
            str(self.path),
            entries[0] if entries else None,
            f"a record that begins with {self.header}",
            "It is about another network, radius or normalisation: choose another file",
            error=LedgerError,
        )
        return whole
