"""What is being looked at: one network, a set of images, a radius - as validated traits, without widgets.

Everything costly is computed on first use and kept by image and method. Notebooks read a session top to bottom;
`widgets` only edits its traits.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import traitlets
from tqdm.auto import tqdm

from ..analysis import RadiusCurve, radius_curve
from ..attacks import run_attack
from ..bounds import margin_bounds
from ..core import (
    METHODS,
    AttackTrace,
    Box,
    ImageSet,
    Instance,
    MarginBounds,
    Margins,
    Normalization,
    ParameterError,
    SelectionConfig,
    Verdict,
    class_margins,
    require,
)
from ..networks import Network, fit_images, normalization_of
from ..selection import Ledger, check_fit, choose, choose_indices, instances_of, run_funnel

_ROWS = 500  # images whose margins are computed between two moves of the bar


class Session(traitlets.HasTraits):
    """State of an exploration. `row` counts within `images`; `chosen` holds true indices of open images.

    Example:
        >>> network = open_network("CIFAR100_resnet_small", device="cpu")
        >>> config = SelectionConfig(attack=AttackConfig(steps=5, restarts=2))
        >>> session = Session(network, load_images("embedded"), config)
        >>> session.row = 17
        >>> bool(session.margins.smallest[17] > session.trace().smallest[0] > 0)
        True
    """

    row = traitlets.Int(0, help="image looked at, its position in `images`")
    method = traitlets.Enum(METHODS, help="bound method looked at, at first the one that decides `verified`")
    chosen = traitlets.Tuple(help="true indices of the open images that will be exported, ascending")

    def __init__(self, network: Network, images: ImageSet, config: SelectionConfig) -> None:
        """Raises NetworkError when the images do not fit the network, ParameterError without a normalisation."""
        images = fit_images(network, images)
        check_fit(network, images)
        self.network, self.images, self.config = network, images, config
        self.verdicts: list[Verdict] = []
        self._natural: list[Margins] = []  # one, once it is computed; shared with sessions at other settings
        self._traces: dict[str, AttackTrace] = {}  # by key: equal images may have two labels
        self._bounds: dict[tuple[str, str], MarginBounds] = {}
        super().__init__(method=config.bounds.method)

    @traitlets.validate("row")
    def _check_row(self, proposal: dict) -> int:
        row = proposal["value"]
        require(0 <= row < len(self.images), "row", row, f"0 to {len(self.images) - 1}")
        return row

    @traitlets.validate("chosen")
    def _check_chosen(self, proposal: dict) -> tuple[int, ...]:
        return tuple(verdict.index for verdict in choose_indices(self.verdicts, proposal["value"]))

    @property
    def normalization(self) -> Normalization:
        """Normalisation of the network's input: its card's, else the one stated with the images."""
        return normalization_of(self.network, self.images)

    def box_of(self, row: int) -> Box:
        """The box of one image at the session's radius, the one that would be exported."""
        return Box.around(self.images.pixels_of([row]), self.normalization, self.config.eps)

    @property
    def margins(self) -> Margins:
        """Class margins of all images, unperturbed, as onnxruntime judges them."""
        if not self._natural:
            logits = []
            with tqdm(total=len(self.images), desc="margins", unit="image", delay=1, leave=False) as bar:
                for first in range(0, len(self.images), _ROWS):
                    part = self.images.pixels_of(slice(first, first + _ROWS))
                    logits.append(self.network.judge(self.normalization.to_network(part)))
                    bar.update(len(part))
            self._natural.append(class_margins(np.concatenate(logits), self.images.labels))
        return self._natural[0]

    def at(self, config: SelectionConfig) -> Session:
        """The same network and images at other settings.

        Margins depend on none of them and are computed once; bounds do not depend on those of the attack.
        """
        other = Session(self.network, self.images, config)
        other._natural = self._natural
        if (config.eps, config.bounds) == (self.config.eps, self.config.bounds):
            other._bounds = self._bounds
        return other

    def row_of(self, index: int) -> int:
        """Position of the image with true index `index`.

        Raises:
            ParameterError: not among the session's images.
        """
        number = isinstance(index, (int, np.integer)) and not isinstance(index, bool)
        rows = np.flatnonzero(self.images.indices == index) if number else np.array([], dtype=np.int64)
        if not len(rows):
            shown = ", ".join(map(str, self.images.indices[:20])) + (", ..." if len(self.images) > 20 else "")
            raise ParameterError(f"image index: found {index!r}; allowed: one of {shown}.")
        return int(rows[0])

    def closest_call(self) -> int:
        """Row of the correctly classified image with the smallest margin (of all images, if none is correct)."""
        smallest = np.where(self.margins.predicted == self.images.labels, self.margins.smallest, np.inf)
        return int(smallest.argmin()) if np.isfinite(smallest).any() else int(self.margins.smallest.argmax())

    def trace(self, row: int | None = None) -> AttackTrace:
        """PGD on one image with every iterate kept and no early stop, so that whole trajectories can be drawn."""
        row = self.row if row is None else row
        key = self.images.keys[row]
        if key not in self._traces:
            config = replace(self.config.attack, early_stop=False)
            label, name = self.images.labels[[row]], self.images.ids[row]
            self._traces[key] = run_attack(self.network, self.box_of(row), label, (name,), config, keep_paths=True)
        return self._traces[key]

    def known_trace(self, row: int) -> AttackTrace | None:
        """The trace of one image, if it was computed."""
        return self._traces.get(self.images.keys[row])

    def bounds(self, row: int | None = None, method: str | None = None) -> MarginBounds:
        """Lower bounds of one image's margins by `method` (the session's by default), layers included."""
        row = self.row if row is None else row
        method = method or self.method
        key = (self.images.keys[row], method)
        if key not in self._bounds:
            config = self.config.bounds.by(method)
            self._bounds[key] = margin_bounds(
                self.network, self.box_of(row), self.images.labels[[row]], config, layers=True
            )
        return self._bounds[key]

    def keep(self, row: int, *, trace: AttackTrace | None = None, bounds: MarginBounds | None = None) -> None:
        """Keep what was computed elsewhere of the image at `row`, as `trace` and `bounds` would compute it."""
        key = self.images.keys[row]
        if trace is not None:
            self._traces[key] = trace
        if bounds is not None:
            self._bounds[key, bounds.method] = bounds

    def known_bounds(self, row: int) -> list[MarginBounds]:
        """Bounds of one image computed so far, cheapest method first."""
        return [self._bounds[key] for m in METHODS if (key := (self.images.keys[row], m)) in self._bounds]

    def run_funnel(self, *, ledger: Ledger | None = None, progress: bool = True) -> list[Verdict]:
        """Settle every image and keep the verdicts; a choice made before is dropped."""
        self.verdicts = run_funnel(self.network, self.images, self.config, ledger=ledger, progress=progress)
        self.chosen = ()
        return self.verdicts

    def choose(self, count: int, seed: int) -> None:
        """Choose `count` open images by drawing from `seed` (all of them where fewer are open)."""
        self.chosen = tuple(verdict.index for verdict in choose(self.verdicts, count, seed))

    def toggle(self, index: int) -> None:
        """Add the open image with true index `index` to the choice, or take it out."""
        self.chosen = tuple(set(self.chosen) ^ {index})

    def chosen_verdicts(self) -> list[Verdict]:
        """Verdicts of the chosen images, in the images' order."""
        return choose_indices(self.verdicts, self.chosen)

    def radius_curve(
        self, row: int, factors: Sequence[float], watch: Callable[..., object] | None = None
    ) -> RadiusCurve:
        """Margins of one image at `factors` times the session's radius, bounded by the session's method.

        The attack is a lighter one, 40 steps and 5 restarts at most, because it runs at every radius. `watch` is called
        on the way; what it raises ends the computation.
        """
        attack = self.config.attack
        return radius_curve(
            self.network,
            self.images.pixels_of([row])[0],
            self.normalization,
            int(self.images.labels[row]),
            self.images.ids[row],
            [self.config.eps * factor for factor in factors],
            attack=replace(attack, steps=min(attack.steps, 40), restarts=min(attack.restarts, 5)),
            bounds=[self.config.bounds.by(self.method)],
            watch=watch,
        )

    def chosen_instances(self, timeout: float) -> list[Instance]:
        """The chosen images as instances of a benchmark, in the images' order; `timeout` in seconds each."""
        return instances_of(self.chosen_verdicts(), self.images, self.network, self.config, timeout)

    def manifest(self, **more: object) -> dict[str, object]:
        """What has to be known to repeat the export: settings, image source, and `more` from the caller."""
        return {"settings": self.config.as_dict(), "source": self.images.source, "images": len(self.images), **more}


def pick_rows(session: Session, count: int) -> Sequence[int]:
    """Rows of up to `count` correctly classified images, spread evenly over their natural margins, smallest first."""
    margins = session.margins
    correct = np.flatnonzero(margins.predicted == session.images.labels)
    ranked = correct[np.argsort(margins.smallest[correct], kind="stable")]
    if len(ranked) <= count:
        return ranked.tolist()
    return ranked[np.linspace(0, len(ranked) - 1, count).round().astype(int)].tolist()
