"""Properties that name some rivals, or one class ahead of all others: what the text says, and what is made of it."""

from __future__ import annotations

import re

import numpy as np
import pytest

from nbutils.core import Property, PropertyError
from nbutils.properties import read_text, replay, write_text

BOX = "".join(f"(assert (<= X_{i} 1.0))\n(assert (>= X_{i} -1.0))\n" for i in range(2))
DECLARED = "".join(f"(declare-const X_{i} Real)\n" for i in range(2)) + "".join(
    f"(declare-const Y_{j} Real)\n" for j in range(4)
)
HEADER_2 = (
    "(vnnlib-version <2.0>)\n(declare-network N (declare-input X float32 [1,1,1,2]) (declare-output Y float32 [1,4]))\n"
)


def text(claim: str, box: str = BOX) -> str:
    return DECLARED + box + claim


def text_2(claim: str) -> str:
    """The same in 2.0."""
    both = BOX + claim
    return HEADER_2 + re.sub(r"X_(\d)", r"X[0,0,0,\1]", re.sub(r"Y_(\d)", r"Y[0,\1]", both))


def logits(x: np.ndarray) -> np.ndarray:
    """Of a network whose class 3 is best, then 0, 1, 2, everywhere."""
    return np.float32([[2, 1, 0, 3]] * len(x))


# claim, and what is read: label, rivals, group. Before, all but the first were refused.
READ = {
    "every rival": ("(assert (or (>= Y_0 Y_1) (>= Y_2 Y_1) (>= Y_3 Y_1)))", 1, (), ()),
    "one rival": ("(assert (>= Y_2 Y_1))", 1, (2,), ()),
    "one rival, <=": ("(assert (<= Y_1 Y_2))", 1, (2,), ()),
    "one rival, or of one": ("(assert (or (and (>= Y_2 Y_1))))", 1, (2,), ()),
    "two rivals": ("(assert (or (>= Y_3 Y_1) (<= Y_1 Y_0)))", 1, (0, 3), ()),
    "argmax is 2": ("(assert (>= Y_2 Y_0))\n(assert (>= Y_2 Y_1))\n(assert (>= Y_2 Y_3))", 3, (2,), (0, 1, 3)),
    "argmax is 2, and": ("(assert (and (<= Y_0 Y_2) (<= Y_1 Y_2) (<= Y_3 Y_2)))", 3, (2,), (0, 1, 3)),
    "argmax is 2, or of one and": ("(assert (or (and (<= Y_0 Y_2) (<= Y_1 Y_2) (<= Y_3 Y_2))))", 3, (2,), (0, 1, 3)),
    "ahead of two": ("(assert (>= Y_2 Y_0))\n(assert (>= Y_2 Y_1))", 0, (2,), (0, 1)),
    "the same twice": ("(assert (>= Y_2 Y_1))\n(assert (>= Y_2 Y_1))", 1, (2,), ()),
}


@pytest.mark.parametrize("version", ["1.0", "2.0"])
@pytest.mark.parametrize("case", READ)
def test_read(case: str, version: str) -> None:
    claim, label, rivals, group = READ[case]
    prop = read_text(text(claim) if version == "1.0" else text_2(claim), name="t", shape=(1, 1, 2), logits=logits)
    assert (prop.label, prop.rivals, prop.group) == (label, rivals, group)


@pytest.mark.parametrize("version", ["1.0", "2.0"])
@pytest.mark.parametrize("case", READ)
def test_written_and_read_again(case: str, version: str) -> None:
    claim, label, rivals, group = READ[case]
    prop = read_text(text(claim), name="t", shape=(1, 1, 2), logits=logits)
    again = read_text(write_text(prop, version), name="t", shape=(1, 1, 2), logits=logits)
    assert (again.label, again.rivals, again.group) == (label, rivals, group)
    assert np.array_equal(again.lower, prop.lower)
    assert np.array_equal(again.upper, prop.upper)


@pytest.mark.parametrize("case", READ)
def test_replay_agrees_with_the_text(case: str) -> None:
    """The claim, evaluated as Boolean text by Python itself, on every order of four logits and on ties."""
    claim, *_ = READ[case]
    prop = read_text(text(claim), name="t", shape=(1, 1, 2), logits=logits)
    rng = np.random.default_rng(0)
    for _ in range(200):
        values = np.float32(rng.integers(0, 4, 4))

        class Judge:
            def judge(self, x: np.ndarray, values: np.ndarray = values) -> np.ndarray:
                return values[None]

        found = replay(Judge(), prop, np.zeros((1, 1, 2), dtype=np.float32))
        assert (found.verdict == "correct") == holds(claim, values), values


def holds(claim: str, values: np.ndarray) -> bool:
    """`claim` by a small evaluator of its own."""
    words = iter(re.findall(r"[()]|[^\s()]+", claim))

    def form() -> object:
        word = next(words)
        if word != "(":
            return word
        parts = []
        while (part := form()) != ")":
            parts.append(part)
        return parts

    def value(item: list) -> bool:
        if item[0] in ("and", "or"):
            return (all if item[0] == "and" else any)(value(part) for part in item[1:])
        left, right = (values[int(name[2:])] for name in item[1:])
        return bool(left >= right if item[0] == ">=" else left <= right)

    found = []
    while True:
        try:
            found.append(value(form()[1]))
        except StopIteration:
            return all(found)


def test_one_box_in_an_or() -> None:
    bounds = "(and (<= X_0 1.0) (>= X_0 -1.0) (<= X_1 1.0) (>= X_1 -1.0))"
    alone = read_text(text("(assert (>= Y_2 Y_1))", f"(assert (or {bounds}))\n"), name="t", shape=(1, 1, 2))
    assert np.array_equal(alone.upper, np.float32([1, 1]))
    together = f"(assert (or (and {bounds} (>= Y_2 Y_1))))"
    assert read_text(text(together, ""), name="t", shape=(1, 1, 2)).rivals == (2,)


REFUSED = {
    "two boxes": ("(assert (or (<= X_0 0.5) (>= X_0 0.6)))", "allowed: one `or`"),
    "two labels": ("(assert (or (>= Y_0 Y_1) (>= Y_0 Y_2)))", "compare with 2 different classes"),
    "all rivals at once": ("(assert (>= Y_0 Y_1))\n(assert (>= Y_2 Y_1))", "2 classes have to be ahead, all at once"),
    "itself": ("(assert (>= Y_1 Y_1))", "Class 1 is compared with itself"),
    "a second or": ("(assert (or (>= Y_0 Y_1) (>= Y_2 Y_1)))\n(assert (>= Y_3 Y_1))", "constrained a second time"),
    "or of ands": ("(assert (or (and (>= Y_0 Y_1) (>= Y_0 Y_2)) (>= Y_3 Y_1)))", "sums are not supported"),
    "a number": ("(assert (>= Y_0 0.5))", "2 inputs and 4 outputs are declared"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused(case: str) -> None:
    claim, message = REFUSED[case]
    with pytest.raises(PropertyError, match=message):
        read_text(text(claim), name="t", shape=(1, 1, 2), logits=logits)


def test_a_group_needs_its_network() -> None:
    claim = READ["argmax is 2"][0]
    with pytest.raises(
        PropertyError, match=r"whether class 2 is ahead of 3 others; it names no label.*Open it with its"
    ):
        read_text(text(claim), name="t", shape=(1, 1, 2))


def test_terms() -> None:
    """Rows that a checker of written files compares: a targeted text is never taken for the usual one."""
    box = np.zeros(2, dtype=np.float32)
    usual = Property(box, box, 1, 3, (1, 1, 2))
    assert usual.terms().tolist() == [[-1, 1, 0], [0, 1, -1]]
    assert Property(box, box, 1, 3, (1, 1, 2), rivals=(2,)).terms().tolist() == [[0, 1, -1]]
    assert Property(box, box, 0, 3, (1, 1, 2), rivals=(2,), group=(0, 1)).terms().tolist() == [[1, 0, -1], [0, 1, -1]]
