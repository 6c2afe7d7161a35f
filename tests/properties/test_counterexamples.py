"""Counterexample text of both versions, and replay with the competition's tolerances."""

from __future__ import annotations

import dataclasses
import random
from pathlib import Path

import numpy as np
import pytest
import toys
from hypothesis import given
from hypothesis import strategies as st

from nbutils.core import ParameterError, Property, PropertyError
from nbutils.networks import Network, open_network
from nbutils.properties import (
    competition_reads,
    gzip_bytes,
    parse_counterexample,
    read_counterexample,
    replay,
    write_counterexample,
)

BOX = Property(np.float32([-1, -1]), np.float32([1, 1]), label=0, classes=3, shape=(1, 1, 2), name="toy.vnnlib")
FLOAT32 = st.floats(width=32, allow_nan=False, allow_infinity=False)
TEXT_1 = "((X_0 0.5)\n(X_1 -1.0)\n(Y_0 0.5)\n(Y_1 0.25)\n(Y_2 -3.5))\n"
TEXT_2 = "X float32 [1,1,1,2]\n0.5\n-1.0\nY float32 [1,3]\n0.5\n0.25\n-3.5\n"


def point(u: float, v: float) -> np.ndarray:
    return np.float32([u, v]).reshape(1, 1, 2)


@pytest.mark.parametrize(("version", "text"), [("1.0", TEXT_1), ("2.0", TEXT_2)])
def test_text(version: str, text: str) -> None:
    assert write_counterexample(point(0.5, -1), np.float32([0.5, 0.25, -3.5]), version) == text
    for given_text in (text, "sat\n" + text, "\n" + text + "\n"):
        assert np.array_equal(parse_counterexample(given_text, BOX, name="c"), point(0.5, -1))


@given(FLOAT32, FLOAT32, st.sampled_from(["1.0", "2.0"]))
def test_every_float32_survives(u: float, v: float, version: str) -> None:
    text = write_counterexample(point(u, v), np.float32([v, u, 0]), version)
    assert parse_counterexample(text, BOX, name="c").tobytes() == point(u, v).tobytes()


def test_text_1_suits_the_competitions_reader() -> None:
    """VNN-COMP's scoring joins lines, strips the outer pair, splits at `)` and wants X then Y, each counted up."""
    content = write_counterexample(point(1e-7, 2), np.float32([0, 1, 2])).replace("\n", " ").strip()
    assert content[0] == "("
    assert content[-1] == ")"
    pairs = [part.strip().removeprefix("(").split(" ") for part in content[1:-1].split(")") if part.strip()]
    assert [name for name, _ in pairs] == ["X_0", "X_1", "Y_0", "Y_1", "Y_2"]
    assert np.float32(pairs[0][1]) == np.float32(1e-7)


def test_files_of_solvers(tmp_path: Path) -> None:
    (tmp_path / "a.gz").write_bytes(gzip_bytes("sat\n(\n(X_1 -1)\n(X_0 5e-1)\n)"))  # any order, no outputs
    assert np.array_equal(read_counterexample(tmp_path / "a.gz", BOX), point(0.5, -1))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r"c: found 'no values'; allowed: a counterexample"),
        ("sat\n", r"c: found 'no values'"),
        ("((X_0 1))", r"c: found 'no value of X_1'; allowed: values of X_0 to X_1"),
        ("((X_0 1)(X_1 1)(X_2 1))", r"line 1: .*allowed: X_0 to X_1, each once, as toy.vnnlib declares"),
        ("((X_0 1)\n(X_0 1))", r"line 2: found '\(X_0 1\)\)'; allowed: X_0 to X_1, each once"),
        ("((X_0 1)(X_1 1)(Y_3 1))", r"allowed: Y_0 to Y_2, each once"),
        ("((X_0 1)\n(X_1 nan))", r"line 2: .*allowed: pairs .* finite numbers"),
        ("((X_0 1)\n(X_1))", r"line 2: .*allowed: pairs"),
        ("(X_0 1)", r"line 1: .*allowed: pairs"),
        ("((X_0 1)(X_1 1))\n((X_0 1)(X_1 1))", r"line 2: .*allowed: one list"),
        ("((X_0 1)(X_1 1e39))", r"c: found 'X_1 too large'; allowed: numbers that float32 can hold"),
        ("X float32 [1,1,1,2]\n1\n1\n", r"c: found '1 variables'; allowed: two"),
        ("X float32 [1,1,1,2]\n1\nY float32 [1,3]\n1\n1\n1", r"line 1: found '1 values'; allowed: 2, as"),
        (
            "X float32 [1,1,1,2]\n1\n1\nY float32 [1,2]\n1\n1",
            r"line 4: found 'Y float32 \[1,2\]'; allowed: Y float32 \[1,3\]",
        ),
        ("X float32 [1,1,1,2]\n1\ninf\n", r"line 3: found 'inf'; allowed: `X float32"),
        ("unsat", r"line 1: found 'unsat'"),
    ],
)
def test_text_refused(text: str, message: str) -> None:
    with pytest.raises(PropertyError, match=message):
        parse_counterexample(text, BOX, name="c")


def test_unknown_version_is_refused() -> None:
    with pytest.raises(ParameterError, match="version: found '3'"):
        write_counterexample(point(0, 0), np.float32([0, 0, 0]), "3")


@pytest.mark.parametrize("text", [TEXT_1, TEXT_2])
def test_mutated_text_raises_nothing_but_property_errors(text: str) -> None:
    survivors = 0
    for seed in range(1500):
        rng, changed = random.Random(seed), text
        for _ in range(rng.randint(1, 3)):
            at = rng.randrange(len(changed) + 1)
            changed = changed[:at] + rng.choice([*list("()XY_ 019.-e[],\n²"), ""]) + changed[at + rng.randint(0, 4) :]
        try:
            parse_counterexample(changed, BOX, name="c")
            survivors += 1
        except PropertyError:
            pass
    assert 0 < survivors < 1500


DECLARED = dataclasses.replace(BOX, classes=2, declared=(("in", "float32", (1, 2)), ("out", "real", (1, 2))))
"""A property whose 2.0 text declares two variables of the same size."""


@pytest.mark.parametrize(
    ("prop", "text", "found"),
    [  # all were read as the point (0.5, -1) and could be called correct; VNN-COMP 2026 calls them malformed
        (BOX, TEXT_2.replace("X float32", "Z float32"), r"Z float32 \[1,1,1,2\]'; allowed: X float32 \[1,1,1,2\]"),
        (BOX, TEXT_2.replace("[1,1,1,2]", "[1,2]"), r"X float32 \[1,2\]'; allowed: X float32 \[1,1,1,2\]"),
        (BOX, TEXT_2.replace("[1,1,1,2]", "[1,1,2,1]"), r"X float32 \[1,1,2,1\]'; allowed: X float32 \[1,1,1,2\]"),
        (BOX, TEXT_2.replace("[1,3]", "[3]"), r"line 4: found 'Y float32 \[3\]'; allowed: Y float32 \[1,3\]"),
        (BOX, TEXT_2.replace("X float32", "X real"), r"X real \[1,1,1,2\]'; allowed: X float32"),
        (
            DECLARED,
            "out real [1,2]\n0.5\n-1\nin float32 [1,2]\n0\n0",
            r"line 1: found 'out real \[1,2\]'; allowed: in ",
        ),
        (
            DECLARED,
            "X float32 [1,2]\n0.5\n-1\nY float32 [1,2]\n0\n0",
            r"line 1: found 'X float32 .*allowed: in float32",
        ),
    ],
)
def test_variables_are_those_that_the_property_declares(prop: Property, text: str, found: str) -> None:
    with pytest.raises(PropertyError, match=found):
        parse_counterexample(text, prop, name="c")


def test_variables_of_a_property_in_its_own_words() -> None:
    text = "in float32 [1,2]\n0.5\n-1\nout real [1,2]\n0\n0"
    assert np.array_equal(parse_counterexample(text, DECLARED, name="c"), point(0.5, -1))
    written = write_counterexample(point(0.5, -1), np.float32([0, 0]), "2.0", DECLARED.declared)
    assert written.splitlines()[::3] == ["in float32 [1,2]", "out real [1,2]"]
    assert np.array_equal(parse_counterexample(written, DECLARED, name="c"), point(0.5, -1))


# replay


@pytest.fixture(scope="module")
def tie(tmp_path_factory: pytest.TempPathFactory) -> Network:
    """`toys.two_neuron_net` with lead 2: m1 = h1 - h2 + 2 is 2 + 2v for u >= 0 near v = -1, so 0 at v = -1."""
    return open_network(toys.two_neuron_net(tmp_path_factory.mktemp("toy"), lead=2.0), device="cpu")


@pytest.mark.parametrize(
    ("u", "v", "verdict", "outside"),
    [
        (0.5, -1.0, "correct", 0),  # level is enough: the property says >=
        (0.5, -0.875, "wrong", 0),  # m1 = 0.25
        (0.5, -1 - 2**-14, "correct_with_tolerance", 2**-14),  # 6e-5 below the box
        (0.5, -1 - 2**-13, "wrong", 2**-13),  # 1.2e-4 below the box
        (1 + 2**-14, -1.0, "correct_with_tolerance", 2**-14),  # the same above it
        (1 + 2**-13, -1.0, "wrong", 2**-13),
    ],
)
def test_replay(tie: Network, u: float, v: float, verdict: str, outside: float) -> None:
    result = replay(tie, BOX, point(u, v))
    assert result.verdict == verdict
    assert result.outside == outside
    assert result.margin == 2 + 2 * v
    assert result.rival == 1
    assert np.array_equal(result.logits, tie.judge(point(u, v)[None])[0])
    assert ("inside the box" in result.reason) == (outside == 0)
    assert ("still leads" in result.reason) == (v == -0.875)


def test_replay_refuses_other_shapes(tie: Network) -> None:
    with pytest.raises(
        PropertyError, match=r"toy.vnnlib: counterexample: found \(2,\); allowed: finite .* \(1, 1, 2\)"
    ):
        replay(tie, BOX, np.float32([0, 0]))
    with pytest.raises(PropertyError, match="found 'NaN or infinity'"):
        replay(tie, BOX, point(0, np.nan))
    four = Property(BOX.lower, BOX.upper, 0, 4, BOX.shape, "four.vnnlib")
    with pytest.raises(PropertyError, match=r"four.vnnlib: outputs of the network: found \(1, 3\); allowed: \(1, 4\)"):
        replay(tie, four, point(0, 0))


@pytest.mark.parametrize("word", ["nan", "-inf", "Infinity"])
@pytest.mark.parametrize("text", [TEXT_1, TEXT_2])
def test_outputs_are_ignored_inputs_are_not(text: str, word: str) -> None:
    """Outputs that are not finite were refused; the competition's scorer ignores them."""
    assert np.array_equal(parse_counterexample(text.replace("-3.5", word), BOX, name="c"), point(0.5, -1))
    with pytest.raises(PropertyError, match=word):
        parse_counterexample(text.replace("-1.0", word), BOX, name="c")


@pytest.mark.parametrize("side", [1, -1])
def test_the_edge_of_the_tolerance_is_tolerated(side: int) -> None:
    """In float32, as scored; was `wrong`, as the distance in float64 is 1.0002e-4."""

    class Level:
        def judge(self, x: np.ndarray) -> np.ndarray:
            return np.zeros((1, 3), np.float32)

    edge = np.float32(side) + np.float32(side) * np.float32(1e-4)
    assert replay(Level(), BOX, point(edge, 0)).verdict == "correct_with_tolerance"
    beyond = np.nextafter(edge, np.float32(2 * side))
    assert replay(Level(), BOX, point(beyond, 0)).verdict == "wrong"


def test_byte_order_mark_is_skipped(tmp_path: Path) -> None:
    (tmp_path / "bom").write_bytes(b"\xef\xbb\xbf" + TEXT_1.encode())
    assert np.array_equal(read_counterexample(tmp_path / "bom", BOX), point(0.5, -1))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("((X_0 1)\n(X_1 2)\n(Y_0 0)\n(Y_1 1))", ""),
        ("sat\n((X_0 1) (X_1 2) (Y_0 0) (Y_1 1))", "line `sat`"),  # was: read without a word
        ("((X_1 2) (X_0 1) (Y_0 0) (Y_1 1))", "X_1 stands where"),
        ("((Y_0 0) (Y_1 1) (X_0 1) (X_1 2))", "Y_0 stands where"),
        ("((X_0 1) (X_2 2) (X_10 3) (Y_0 0))", ""),
        ("X float32 [1,1,1,2]\n1.0\n2.0\nY float32 [1,2]\n0.0\n1.0\n", ""),
    ],
)
def test_what_the_competitions_reader_fails_on_is_said(text, said):
    found = competition_reads(text)
    assert said in found
    assert bool(found) == bool(said)
