"""Bounds computed by several threads at once, as an explorer's job and a cell do, are those of one thread."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from nbutils.bounds import margin_bounds, method_checks, methods
from nbutils.core import METHODS, BoundsConfig, Box


def boxes(network, count):
    draw = np.random.default_rng(0)
    center = draw.standard_normal((count, *network.input_shape)).astype(np.float32)
    return Box(center - np.float32(0.02), center + np.float32(0.02), center)


@pytest.fixture
def unknown(monkeypatch):
    """As if no network had been bounded yet."""
    monkeypatch.setattr(methods, "_ENGINES", type(methods._ENGINES)())
    monkeypatch.setattr(methods, "_CHECKS", type(methods._CHECKS)())


def test_threads_do_not_disturb_each_other(tiny_resnet, unknown):
    """Without a lock threads took each other's intervals, or ended in "ibp is refused: failed in Conv"."""
    box = boxes(tiny_resnet, 8)
    labels = np.arange(8) % tiny_resnet.classes
    wanted = [(row, method) for row in range(len(box)) for method in ("ibp", "crown-ibp", "crown")]

    def bounds(job):
        row, method = job
        return margin_bounds(tiny_resnet, box.take([row]), labels[[row]], BoundsConfig(method=method)).lower

    with ThreadPoolExecutor(6) as pool:
        found = list(pool.map(bounds, wanted))
    for job, lower in zip(wanted, found, strict=True):
        np.testing.assert_array_equal(lower, bounds(job), err_msg=str(job))


def test_methods_are_examined_by_one_thread_at_a_time(tiny_resnet, unknown):
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda _: method_checks(tiny_resnet), range(4)))
    assert all(check.holds for checks in found for check in checks)
    assert [check.method for check in found[0]] == list(METHODS)


@pytest.mark.parametrize(("method", "at"), [("crown", "layer"), ("alpha-crown", "row")])
def test_a_thread_that_is_stopped_leaves_the_engine_to_the_next(tiny_resnet, unknown, method, at):
    box, labels, config = boxes(tiny_resnet, 1), np.zeros(1, np.int64), BoundsConfig(method=method)

    def stop(word, *_):
        if word == at:
            raise InterruptedError

    with ThreadPoolExecutor(1) as pool, pytest.raises(InterruptedError):
        pool.submit(margin_bounds, tiny_resnet, box, labels, config, watch=stop).result()
    assert margin_bounds(tiny_resnet, box, labels, config).lower.shape == (1, 4)
