"""alpha-CROWN where only the smallest bound is wanted: the same smallest bound from fewer optimised rows."""

import dataclasses

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from nbutils.bounds import lirpa, margin_bounds
from nbutils.bounds.alpha_rows import FIRST, GROUP, raised
from nbutils.core import BoundsConfig, Box

VALUES = st.one_of(st.integers(-8, 8).map(float), st.just(float("-inf")))


def by_table(gains, seen):
    """An optimiser that raises row i by `gains[i]`, or lowers it, and notes in `seen` which rows it was given."""

    def optimise(rows):
        seen.extend(rows.tolist())
        return torch.as_tensor(gains)[rows]

    return optimise


@given(st.lists(st.tuples(VALUES, VALUES), min_size=1, max_size=20), st.integers(1, 9))
def test_the_smallest_is_that_of_all_rows(pairs, chunk):
    crown, found = torch.tensor(pairs).T.contiguous()
    all_rows, some_rows = [], []
    whole = raised(crown, by_table(found, all_rows), chunk, only_smallest=False)
    few = raised(crown, by_table(found, some_rows), chunk, only_smallest=True)
    assert all_rows == list(range(len(pairs)))
    assert torch.equal(whole, torch.fmax(crown, found))
    assert few.min() == whole.min()
    assert ((few == whole) | (few == crown)).all()
    assert len(set(some_rows)) == len(some_rows)


def test_rows_that_cannot_be_the_smallest_are_left_alone():
    """Two rows stand below what the lowest can be raised to; they fill one group, with the next two."""
    crown = torch.tensor([5.0, -3.0, 4.0, -2.0, 6.0, 7.0, 8.0])
    seen = []
    found = raised(crown, by_table(crown + 1.5, seen), 100, only_smallest=True)
    assert seen == [1, 3, 2, 0]
    assert found.tolist() == [6.5, -1.5, 5.5, -0.5, 6.0, 7.0, 8.0]


def test_a_second_group_follows_while_a_row_stands_lower():
    crown = torch.arange(10.0)
    seen = []
    raised(crown, by_table(crown + 5.5, seen), 100, only_smallest=True)
    assert seen == list(range(2 * FIRST))  # 0 becomes 5.5, so row 5 could become the smallest, and row 8 cannot


def test_bounds_that_are_no_numbers_come_first():
    nan = float("nan")
    crown, seen = torch.tensor([4.0, nan, 1.0, nan, 2.0, 3.0]), []
    found = raised(crown, by_table([5.0, 0.5, 5.0, 2.5, 5.0, 5.0], seen), 2, only_smallest=True)
    assert seen == [1, 3]
    assert found.tolist() == [4, 0.5, 1, 2.5, 2, 3]


def test_groups_are_told_of_and_what_the_listener_raises_ends_the_work():
    told, seen = [], []
    crown = torch.arange(2.0 * GROUP + 3)
    raised(crown, by_table(crown, seen), 100, only_smallest=False, tell=lambda *places: told.append(places))
    assert told == [(GROUP, len(crown)), (2 * GROUP, len(crown)), (len(crown), len(crown))]

    def stop(done, _):
        if done > GROUP:
            raise InterruptedError

    seen.clear()
    with pytest.raises(InterruptedError):
        raised(crown, by_table(crown, seen), 100, only_smallest=False, tell=stop)
    assert seen == list(range(GROUP))


@pytest.mark.parametrize("eps", [0.02, 0.1])
def test_on_a_network(tiny_resnet, eps, monkeypatch):
    center = np.random.default_rng(0).random((3, *tiny_resnet.input_shape), dtype=np.float32)
    box, labels = Box(center - np.float32(eps), center + np.float32(eps), center), np.arange(3)
    config = BoundsConfig(method="alpha-crown")
    whole = margin_bounds(tiny_resnet, box, labels, config)
    crown = margin_bounds(tiny_resnet, box, labels, dataclasses.replace(config, method="crown"))
    given_rows, optimised = [], lirpa.optimized_lower
    monkeypatch.setattr(lirpa, "optimized_lower", lambda *a: given_rows.append(a[2].shape[1]) or optimised(*a))
    few = margin_bounds(tiny_resnet, box, labels, config, only_smallest=True)
    assert max(given_rows) <= FIRST
    # a row is optimised with others, which ends at another slope in the last digits
    np.testing.assert_allclose(few.smallest, whole.smallest, atol=1e-3)
    assert (few.lower >= crown.lower).all()
    assert (few.smallest > crown.smallest).all()
