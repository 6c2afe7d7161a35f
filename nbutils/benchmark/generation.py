"""A whole benchmark from one seed: which images of every recorded selection become instances, and their files.

The draw ranks hashes (`randomness.draw`) and boxes are made by NumPy alone, so a seed gives the same bytes on any
machine; torch is needed only where there is no recorded selection (`fresh_selection`).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..core import (
    NETWORKS,
    Box,
    ImageError,
    ImageSet,
    Instance,
    SelectionConfig,
    SelectionError,
    Verdict,
    draw,
    require,
    settings,
)
from ..networks import read_bytes, stem
from ..properties import VERSIONS, make_property
from ..selection import Selection, make_selection, read_selection, selected_images
from .export import export_benchmark, instances_csv
from .manifest import read_manifest, sha256
from .replaced_files import beside, check_own, swap_in

MODES: tuple[str, ...] = ("hard", "mixed", "stratified")
LEVELS: tuple[str, ...] = ("easy", "middle", "hard")
"""Of open images: alpha-CROWN proves them; else the smaller and the larger half of the gaps, attack minus bound."""

OTHER_COUNT, OTHER_TIMEOUT = 24, 200
"""Instances, and seconds an instance, of a network that is none of the published five."""


@dataclass(frozen=True, kw_only=True)
class Draw:
    """How instances are drawn from selections."""

    seed: int
    mode: str = "hard"  # open images (VNN-COMP 2022); `mixed`: attackable ones too (2024); `stratified`: by level
    share: float = 0.15  # of attackable images in mode mixed

    def __post_init__(self) -> None:
        whole = isinstance(self.seed, int) and not isinstance(self.seed, bool) and 0 <= self.seed < 2**63
        require(whole, "SEED", self.seed, "a whole number from 0 to 2**63 - 1")
        require(self.mode in MODES, "mode", self.mode, " or ".join(MODES))
        ok = isinstance(self.share, (int, float)) and 0 < self.share < 1
        require(ok, "share", self.share, "a fraction above 0 and below 1", "VNN-COMP mixes 0.12 to 0.2")

    def of(self, selection: Selection) -> list[Verdict]:
        """The verdicts drawn from one selection, by index; fewer than planned where fewer images are left."""
        count, _ = plan(selection.network)
        if self.mode == "stratified":
            return self._stratified(selection, count)
        attackable = round(count * self.share) if self.mode == "mixed" else 0
        drawn: list[Verdict] = []
        for status, wanted in (("open", count - attackable), ("attacked", attackable)):
            left = selection.of(status)
            keys = tuple(verdict.key for verdict in left)
            drawn += (left[row] for row in draw(keys, wanted, self.seed, f"{status} {selection.network}"))
        return sorted(drawn, key=lambda verdict: (verdict.index, verdict.key))

    def _stratified(self, selection: Selection, count: int) -> list[Verdict]:
        """Equal parts of each level; where one has too few images, the others give more."""
        groups = levels(selection)
        shares = dict.fromkeys(LEVELS, 0)
        while sum(shares.values()) < min(count, sum(map(len, groups.values()))):
            for level in LEVELS:
                shares[level] += shares[level] < len(groups[level]) and sum(shares.values()) < count
        drawn: list[Verdict] = []
        for level, group in groups.items():
            keys = tuple(verdict.key for verdict in group)
            drawn += (group[row] for row in draw(keys, shares[level], self.seed, f"{level} {selection.network}"))
        return sorted(drawn, key=lambda verdict: (verdict.index, verdict.key))


def levels(selection: Selection) -> dict[str, list[Verdict]]:
    """Open images on which alpha-CROWN was run, by level (`LEVELS`).

    Raises:
        SelectionError: alpha-CROWN was run on none.
    """
    known = [verdict for verdict in selection.of("open") if verdict.key in selection.alpha]
    hint = f"Run it: python -m nbutils alpha {selection.network}"
    where = f"selection of {selection.network}: alpha_bound"
    require(bool(known), where, "no image with a bound", "one or more, for mode stratified", hint, error=SelectionError)
    proved = [verdict for verdict in known if selection.proved_by_alpha(verdict)]
    others = sorted(
        (verdict for verdict in known if not selection.proved_by_alpha(verdict)),
        key=lambda verdict: (selection.gap(verdict), verdict.key),
    )
    middle = (len(others) + 1) // 2
    return {"easy": proved, "middle": others[:middle], "hard": others[middle:]}


def plan(network: str) -> tuple[int, int]:
    """Number of instances of a network, and seconds for each: the published ones, or the default for others."""
    known = NETWORKS.get(network)
    return (known.count, known.timeout) if known else (OTHER_COUNT, OTHER_TIMEOUT)


def find_networks(base: Path | None = None) -> dict[str, Path]:
    """ONNX files in `base`/onnx by name: the published five in the published order, then the others by name."""
    folder = (base or settings.root()) / "onnx"
    found = {stem(path): path for end in ("*.onnx.gz", "*.onnx") for path in sorted(folder.glob(end))}
    order = [name for name in NETWORKS if name in found]
    return {name: found[name] for name in (*order, *sorted(found.keys() - set(order)))}


def recorded_selections(networks: Mapping[str, Path], base: Path | None = None) -> dict[str, Selection]:
    """Recorded selection of each network that has one in `base`/vnnlib/selected, checked against its ONNX file.

    Raises:
        SelectionError: a damaged selection, or one about another ONNX file of that name.
    """
    folder = (base or settings.root()) / "vnnlib" / "selected"
    paths = {name: folder / f"{name}.csv" for name in networks if (folder / f"{name}.csv").is_file()}
    found = {name: read_selection(path, sha256(read_bytes(networks[name]))) for name, path in paths.items()}
    for name, selection in found.items():
        where, hint = f"{paths[name]}: network", "The file name says the network"
        require(selection.network == name, where, selection.network, name, hint, error=SelectionError)
    return found


def kept_images(selections: Mapping[str, Selection], base: Path | None = None) -> list[ImageSet] | None:
    """The pixels kept beside the selections in `base`/vnnlib/selected; None where those of an image are not there.

    Raises:
        ImageError: a damaged archive.
    """
    folder = (base or settings.root()) / "vnnlib" / "selected"
    paths = {folder / f"{selection.dataset or name}.npz" for name, selection in selections.items()}
    if not all(path.is_file() for path in paths):
        return None
    pool = [selected_images(path) for path in sorted(paths)]
    known = {key for images in pool for key in images.keys}
    wanted = {verdict.key for selection in selections.values() for verdict in selection.verdicts}
    return pool if wanted <= known else None


def fresh_selection(
    network: Path, images: ImageSet, settings: SelectionConfig, *, progress: bool = True, **stated: Any
) -> Selection:
    """What the funnel makes of `images` here and now, their normalisation `stated` as for `fit_images`; needs torch."""
    from ..networks import fit_images, normalization_of, open_network
    from ..selection import run_funnel

    opened = open_network(network)
    images = fit_images(opened, images, **stated)
    verdicts = run_funnel(opened, images, settings, progress=progress)
    return make_selection(opened, verdicts, settings, normalization_of(opened, images), images.source)


def assumed_of(selections: Mapping[str, Selection], pool: Sequence[ImageSet]) -> str:
    """Images, their order, and the normalisation and radius of the selections, and where each came from."""
    sets = ", ".join(f"{len(images)} images of {images.source}, {images.origin.order}" for images in pool)
    groups: dict[str, list[str]] = {}
    for name, selection in selections.items():
        norm = selection.normalization
        mean, std = (" ".join(f"{value:.6g}" for value in values) for values in (norm.mean, norm.std))
        what = f"normalisation mean {mean}, std {std}, radius {selection.eps * 255:.6g}/255"
        groups.setdefault(what, []).append(name)
    return "; ".join([sets, *(f"{what}, from the selection of {', '.join(names)}" for what, names in groups.items())])


def among(selection: Selection, images: ImageSet) -> Selection:
    """`selection` with the rows of `images` only; its counts stay those of the whole set."""
    keys = set(images.keys)
    return dataclasses.replace(selection, verdicts=tuple(v for v in selection.verdicts if v.key in keys))


def draw_instances(
    selections: Mapping[str, Selection], networks: Mapping[str, Path], pool: Sequence[ImageSet], how: Draw
) -> list[Instance]:
    """Instances of every selection in turn, by index: the boxes that the verdicts are about.

    Images are looked up by hash and label. `index` stays the recorded one, whatever the order of the set that is
    loaded, so names do not depend on where the images came from.

    Raises:
        ImageError: a drawn image that is in no set of `pool`.
        SelectionError: nothing to draw.
    """
    drawn = {name: how.of(selection) for name, selection in selections.items()}
    rows = {key: (images, row) for images in pool for row, key in enumerate(images.keys)}
    for name, verdicts in drawn.items():
        missing = [verdict for verdict in verdicts if verdict.key not in rows]
        if missing:
            loaded = ", ".join(images.source for images in pool) or "no images"
            raise ImageError(
                f"{name}: found {len(missing)} of {len(verdicts)} drawn images missing from {loaded}, first index "
                f"{missing[0].index} with SHA-256 {missing[0].image_id[:12]}…; allowed: the set of the selection, "
                f"{selections[name].source}, pixel for pixel. Name it with --images and --path."
            )
    if not any(drawn.values()):
        raise SelectionError(
            f"selections of {', '.join(selections)}: found no image to draw in mode {how.mode}; allowed: selections "
            "with open images. Select at a larger radius."
        )
    instances = []
    for name, verdicts in drawn.items():
        level = _level_of(selections[name]) if how.mode == "stratified" else {}
        instances += [
            _instance(selections[name], verdict, *rows[verdict.key], networks[name], level.get(verdict.key))
            for verdict in verdicts
        ]
    return instances


def _level_of(selection: Selection) -> dict[str, str]:
    return {verdict.key: level for level, group in levels(selection).items() for verdict in group}


def _instance(
    selection: Selection, verdict: Verdict, images: ImageSet, row: int, network: Path, level: str | None
) -> Instance:
    image = images.take([row])
    image = dataclasses.replace(
        image, indices=image.indices * 0 + verdict.index, source=selection.source, normalization=selection.normalization
    )
    box = Box.around(image.pixels, selection.normalization, selection.eps)
    prop = make_property(image, 0, box, selection.classes, selection.network, selection.eps)
    expected = "sat" if verdict.status == "attacked" else "unknown"
    more = {"expected": expected} | ({} if level is None else {"level": level})
    prop = dataclasses.replace(prop, meta={**prop.meta, **more})
    return Instance(prop, network, plan(selection.network)[1], image.levels[0], verdict)


def facts(selections: Mapping[str, Selection], how: Draw) -> dict[str, Any]:
    """What the manifest says of the draw, beside what every export says."""
    described = {name: {**selection.header(), "sha256": selection.sha256} for name, selection in selections.items()}
    settings = dataclasses.asdict(how)
    if how.mode != "mixed":
        del settings["share"]
    return {"draw": settings, "selections": described, "made_by": "generate_properties.py"}


def write_in_place(
    instances: Sequence[Instance],
    manifest: Mapping[str, Any],
    *,
    base: Path | None = None,
    version: str = VERSIONS[0],
    gzip: bool = False,
) -> list[str]:
    """VNN-COMP's contract: `instances.csv` and `vnnlib/` at the root of the checkout, `onnx/` as it stands.

    Replaces what an earlier call wrote and nothing else (see `replaced_files`). The manifest, `vnnlib/manifest.json`,
    leaves out the versions of this machine's packages: they have no part in the bytes; each selection says those it was
    made with.

    Returns:
        Relative paths of the files, sorted, the manifest left out.
    """
    base = base or settings.root()
    check_own(base, "instances.csv", instances_csv(instances).encode("ascii"))
    with beside(base) as scratch:
        export_benchmark(instances, scratch / "new", manifest=manifest, versions=[version], gzip=gzip, layout="flat")
        content = read_manifest(scratch / "new")
        del content["packages"]
        content["files"] = {path: h for path, h in content["files"].items() if not path.startswith("onnx/")}
        swap_in(base, scratch / "new", {**content, "layout": "root"})
    return sorted(content["files"])
