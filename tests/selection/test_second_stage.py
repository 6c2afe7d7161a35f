"""The second stage looks at open images only, finds what the funnel's PGD leaves, and keeps its own ledger."""

from dataclasses import replace

import numpy as np
import pytest
import toys

from nbutils.attacks import StrongConfig, strong_attack
from nbutils.core import (
    AttackConfig,
    BoundsConfig,
    BoundsError,
    Box,
    ImageSet,
    LedgerError,
    SelectionConfig,
    Verdict,
    class_margins,
)
from nbutils.networks import open_network
from nbutils.selection import Ledger, run_funnel, run_key, run_second_stage, second_key, second_path, second_stage
from nbutils.selection.second_stage import attack_again

WEAK = SelectionConfig(
    eps=127 / 255, attack=AttackConfig(steps=0, restarts=1, seed=1), bounds=BoundsConfig(method="ibp")
)
STRONG = StrongConfig(steps=20, restarts=2)
GREY = ImageSet(np.full((1, 1, 1, 2), 128, np.uint8), np.zeros(1, np.int64), np.array([7]), "grey", ("a", "b", "c"),
                toys.HALF)  # fmt: skip


def lead(folder, value):
    return open_network(toys.two_neuron_net(folder, lead=value), device="cpu")


def test_a_counterexample_that_pgd_left_is_found(tmp_path):
    """lead 1.9: the smallest margin is -0.1, only near corners; a single random start (0 steps) does not see it."""
    network = lead(tmp_path, 1.9)
    first = run_funnel(network, GREY, WEAK, progress=False)
    assert first[0].status == "open", "precondition: the funnel leaves it"
    (found,) = run_second_stage(network, GREY, first, WEAK, STRONG, progress=False)
    assert (found.status, found.decided_by, found.index) == ("attacked", "strong attack", 7)
    assert (found.bound, found.bound_method) == (first[0].bound, "ibp")
    box = Box.around(GREY.pixels, toys.HALF, WEAK.eps)
    again = class_margins(network.judge(found.point[None]), GREY.labels)
    assert box.contains(found.point[None]).all()
    assert found.attack_margin == again.smallest[0] <= 0
    assert found.attack_rival == 1
    assert found.attack_steps > 0


def test_an_open_image_stays_open_with_the_lower_margin(tmp_path):
    """lead 2.75: the smallest margin is 0.75, IBP proves -0.25 only."""
    network = lead(tmp_path, 2.75)
    (first,) = run_funnel(network, GREY, WEAK, progress=False)
    (found,) = run_second_stage(network, GREY, [first], WEAK, STRONG, progress=False)
    assert (found.status, found.decided_by) == ("open", "strong attack")
    assert found.attack_margin == pytest.approx(0.75, abs=0.02)
    assert first.attack_margin > found.attack_margin + 0.1
    assert found.attack_steps == 3 * 20, "three stages"
    lower = replace(first, attack_margin=0.5, attack_rival=2)
    (kept,) = run_second_stage(network, GREY, [lower], WEAK, STRONG, progress=False)
    assert (kept.attack_margin, kept.attack_rival, kept.point) == (0.5, 2, first.point)


def test_settled_images_are_left_alone(tmp_path, monkeypatch):
    network = lead(tmp_path, 2.75)
    (first,) = run_funnel(network, GREY, WEAK, progress=False)
    monkeypatch.setattr(second_stage, "strong_attack", lambda *_: pytest.fail("attacked a settled image"))
    for status in ("misclassified", "attacked", "verified"):
        settled = replace(first, status=status)
        assert run_second_stage(network, GREY, [settled], WEAK, STRONG, progress=False) == [settled]


def test_its_ledger_is_its_own_and_continues(tmp_path, monkeypatch):
    network = lead(tmp_path, 1.9)
    key = run_key("a" * 64, WEAK, toys.HALF)
    path = second_path(tmp_path / "small.sqlite")
    assert path == tmp_path / "small.strong.sqlite"
    first = run_funnel(network, GREY, WEAK, progress=False)
    with Ledger(path, second_key(key, STRONG)) as ledger:
        found = run_second_stage(network, GREY, first, WEAK, STRONG, ledger=ledger, progress=False)
        monkeypatch.setattr(second_stage, "strong_attack", lambda *_: pytest.fail("attacked again"))
        assert run_second_stage(network, GREY, first, WEAK, STRONG, ledger=ledger, progress=False) == found
    for other in (key, second_key(key, replace(STRONG, steps=21))):
        with pytest.raises(LedgerError, match="belongs to another run"):
            Ledger(path, other)


def test_an_unsound_bound_stops_the_run(tmp_path):
    network = lead(tmp_path, 2.75)
    (first,) = run_funnel(network, GREY, WEAK, progress=False)
    lying = Verdict(**{**vars(first), "bound": 0.9, "bound_method": "crown"})
    with pytest.raises(BoundsError, match=r"crown: lower bound 0.9 lies above the margin 0.7.* unsound"):
        attack_again(network, GREY, 0, lying, WEAK, STRONG, toys.HALF)


def test_the_attack_is_the_strong_one(tmp_path):
    network = lead(tmp_path, 2.75)
    (first,) = run_funnel(network, GREY, WEAK, progress=False)
    box = Box.around(GREY.pixels, toys.HALF, WEAK.eps)
    trace = strong_attack(network, box, GREY.labels, GREY.ids, STRONG)
    found = attack_again(network, GREY, 0, first, WEAK, STRONG, toys.HALF)
    assert found.attack_margin == trace.smallest[0]
    np.testing.assert_array_equal(found.point, trace.points[0])
