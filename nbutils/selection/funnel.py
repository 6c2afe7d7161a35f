"""The filter every image passes, over many images: resumable, on one process or several.

The unit of computation is one image (`deciding`), so a verdict does not depend on batch, order, workers or resumption.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from typing import Any

from tqdm.auto import tqdm

from ..core import STATUSES, ImageSet, NetworkError, SelectionConfig, Verdict
from ..networks import Network, normalization_of
from .deciding import decide, usable_methods
from .ledger import Ledger

Step = Callable[..., Verdict]
"""`step(network, *job)`: the verdict of one image. A function of a module, so that workers can be sent its name."""

Engine = Callable[[Network, Step, Iterable[tuple[Any, ...]]], Iterable[Verdict]]
"""Runs a step on every job, in any order: `here`, or the engine of `cluster.dask_engine`."""


def here(network: Network, step: Step, jobs: Iterable[tuple[Any, ...]]) -> Iterator[Verdict]:
    """The engine of one process: one job after the other."""
    return (step(network, *job) for job in jobs)


def run_funnel(
    network: Network,
    images: ImageSet,
    config: SelectionConfig,
    *,
    ledger: Ledger | None = None,
    progress: bool = True,
    engine: Engine = here,
) -> list[Verdict]:
    """Verdicts of all `images`, in their order.

    With a `ledger`, images already settled under the same network, settings and normalisation are read from it and
    every new verdict is committed as soon as it is known: a killed run continues where it was.

    Example:
        >>> network, images = open_network("CIFAR100_resnet_small", device="cpu"), load_images("embedded").take([1])
        >>> [(v.index, v.status) for v in run_funnel(network, images, SelectionConfig(), progress=False)]
        [(1, 'misclassified')]
    """
    check_fit(network, images)
    usable_methods(network, config.bounds.method)  # no image is settled where no method holds
    normalization = normalization_of(network, images)
    jobs: dict[str, tuple[Any, ...]] = {}
    for row, key in enumerate(images.keys):
        jobs.setdefault(key, (row, config, normalization))
    return settle(network, decide, images, jobs, ledger=ledger, progress=progress, engine=engine, name="funnel")


def settle(
    network: Network,
    step: Step,
    images: ImageSet,
    jobs: dict[str, tuple[Any, ...]],
    *,
    ledger: Ledger | None,
    progress: bool,
    engine: Engine,
    name: str,
) -> list[Verdict]:
    """Verdicts of `step` for the images with a job, in the images' order; those in the `ledger` are taken from it.

    Args:
        jobs: by image key, row in `images` and further arguments; the step gets the one image and row 0 in its place.
        name: of the progress bar.
    """
    done = {} if ledger is None else ledger.verdicts(jobs)
    todo = ((images.take([row]), 0, *more) for key, (row, *more) in jobs.items() if key not in done)
    settled = dict(done)
    for verdict in _with_progress(engine(network, step, todo), len(jobs), done, progress, name):
        if ledger is not None:
            ledger.add(verdict)
        settled[verdict.key] = verdict
    rows = [(key, int(index)) for key, index in zip(images.keys, images.indices, strict=True) if key in jobs]
    return [replace(settled[key], index=index) for key, index in rows]


def _with_progress(
    verdicts: Iterable[Verdict], total: int, done: dict[str, Verdict], progress: bool, name: str
) -> Iterator[Verdict]:
    counts = count_statuses(done.values())
    with tqdm(total=total, initial=len(done), unit="image", disable=not progress, desc=name) as bar:
        bar.set_postfix(counts)
        for verdict in verdicts:
            counts[verdict.status] += 1
            bar.set_postfix(counts, refresh=False)
            bar.update()
            yield verdict


def check_fit(network: Network, images: ImageSet) -> None:
    """Refuse images whose shape or number of classes is not the network's.

    Raises:
        NetworkError: naming both sides.
    """
    shape, taken = tuple(images.levels.shape[1:]), tuple(network.input_shape)
    if shape != taken or len(images.class_names) != network.classes:
        hint = "Choose images of its own data set."
        if shape != taken and shape == (taken[2], taken[0], taken[1]):
            hint = "The network reads rows, columns, channels (HWC): export it with channels first (CHW)."
        raise NetworkError(
            f"{network.name}: takes images {taken} of {network.classes} classes, {images.source} "
            f"has {shape} of {len(images.class_names)} classes. {hint}"
        )


def count_statuses(verdicts: Iterable[Verdict]) -> dict[str, int]:
    """Number of images with each status, in the funnel's order, zeros included."""
    counts = dict.fromkeys(STATUSES, 0)
    for verdict in verdicts:
        counts[verdict.status] += 1
    return counts
