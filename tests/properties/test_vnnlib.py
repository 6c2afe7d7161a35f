"""Property <-> text: byte identity with the published files, other people's spellings, and everything refused."""

from __future__ import annotations

import gzip
import random
import re
import time
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import vnnlib
import vnnlib.compat
from hypothesis import given, settings
from hypothesis import strategies as st

from nbutils.core import ParameterError, Property, PropertyError
from nbutils.properties import decimal, gzip_bytes, read_file, read_property, read_text, write_text
from nbutils.properties.s_expressions import MAX_BYTES

TOY = Property(np.float32([-1, 0.25]), np.float32([1, 0.5]), label=1, classes=3, shape=(1, 1, 2), name="toy.vnnlib")
FLOAT32 = st.floats(width=32, allow_nan=False, allow_infinity=False)

TOY_1 = """; CIFAR100 property with label: 1.

(declare-const X_0 Real)
(declare-const X_1 Real)


(declare-const Y_0 Real)
(declare-const Y_1 Real)
(declare-const Y_2 Real)

; Input constraints:
(assert (<= X_0 1.0))
(assert (>= X_0 -1.0))

(assert (<= X_1 0.5))
(assert (>= X_1 0.25))


; Output constraints:
(assert (or
\t(and (>= Y_0 Y_1))
\t(and (>= Y_2 Y_1))
))
"""
TOY_2 = """(vnnlib-version <2.0>)
(declare-network N
\t(declare-input X float32 [1,1,1,2])
\t(declare-output Y float32 [1,3])
)
(assert (<= X[0,0,0,0] 1.0))
(assert (>= X[0,0,0,0] -1.0))
(assert (<= X[0,0,0,1] 0.5))
(assert (>= X[0,0,0,1] 0.25))
(assert (or (>= Y[0,0] Y[0,1]) (>= Y[0,2] Y[0,1])))
"""


def same(a: Property, b: Property) -> bool:
    """Box float32 for float32, label, classes and shape."""
    bounds = a.lower.tobytes() == b.lower.tobytes() and a.upper.tobytes() == b.upper.tobytes()
    return bounds and (a.label, a.classes, a.shape) == (b.label, b.classes, b.shape)


def standard_box(text: str) -> np.ndarray:
    """Bounds float64 [n, 2] by the PyPI parser of VNN-LIB 2.0."""
    (case,) = vnnlib.compat.transform(vnnlib.parse_query_string(text))
    return np.array(case.input_box)


# writing


def test_text_1_is_the_published_generators() -> None:
    assert write_text(TOY, "1.0") == TOY_1


def test_text_2_says_the_same_to_the_standard_parser() -> None:
    text = write_text(TOY, "2.0")
    (case,) = vnnlib.compat.transform(vnnlib.parse_query_string(text))
    assert case.input_box == [(-1, 1), (0.25, 0.5)]
    # row . Y <= 0 with row = e_label - e_rival
    assert [p.coeff_matrix for p in case.output_constraints] == [[[-1, 1, 0]], [[0, 1, -1]]]
    assert [p.rhs for p in case.output_constraints] == [[0], [0]]
    (network,) = vnnlib.parse_query_string(text).networks
    assert list(network.inputs[0].shape) == [1, 1, 1, 2]
    assert list(network.outputs[0].shape) == [1, 3]


@pytest.mark.parametrize("path", ["CIFAR100_resnet_small", "CIFAR100_resnet_medium", "CIFAR100_resnet_super", "Tiny"])
def test_published_files_come_back_byte_for_byte(shared: Path, path: str) -> None:
    (file,) = (shared / "official").glob(f"{path}*_prop_*.gz")
    published = gzip.decompress(file.read_bytes()).decode()
    prop = read_property(file)
    assert prop.shape == ((3, 56, 56) if path == "Tiny" else (3, 32, 32))
    assert prop.classes == (200 if path == "Tiny" else 100)
    assert prop.name == file.name.removesuffix(".gz")
    assert write_text(prop, "1.0") == published
    again = read_text(write_text(prop, "2.0"), name="again")
    assert same(again, prop)
    box = standard_box(write_text(prop, "2.0"))
    assert np.array_equal(box[:, 0], prop.lower)
    assert np.array_equal(box[:, 1], prop.upper)


def test_unknown_version_is_refused() -> None:
    with pytest.raises(ParameterError, match=r"version: found '3.0'; allowed: 1.0 or 2.0"):
        write_text(TOY, "3.0")


@given(FLOAT32)
def test_decimals_have_a_point_and_no_exponent(value: float) -> None:
    text = decimal(np.float32(value))
    assert re.fullmatch(r"-?[0-9]+\.[0-9]+", text)
    assert np.float32(float(text)) == np.float32(value)
    assert float(text) == value  # the float64 value itself


@given(st.lists(st.tuples(FLOAT32, FLOAT32), min_size=1, max_size=4), st.integers(2, 4), st.data())
@settings(deadline=None)
def test_any_float32_box_survives_both_versions(
    pairs: list[tuple[float, float]], classes: int, data: st.DataObject
) -> None:
    bounds = np.sort(np.float32(pairs), axis=1)
    label = data.draw(st.integers(0, classes - 1))
    prop = Property(bounds[:, 0], bounds[:, 1], label, classes, (1, 1, len(bounds)), "p")
    for version in ("1.0", "2.0"):
        assert same(read_text(write_text(prop, version), name="p", shape=prop.shape), prop)
    assert np.array_equal(standard_box(write_text(prop, "2.0")), bounds)


def test_gzip_is_deterministic_and_anonymous() -> None:
    packed = gzip_bytes(TOY_1)
    assert packed == gzip_bytes(TOY_1)
    assert gzip.decompress(packed).decode() == TOY_1
    assert packed[3] == 0  # no name, no comment
    assert packed[4:8] == bytes(4)  # no time


# reading


def test_toys_read_back() -> None:
    assert same(read_text(TOY_1, name="toy", shape=(1, 1, 2)), TOY)
    assert same(read_text(TOY_2, name="toy"), TOY)


FOREIGN = {
    "one conjunction, bounds reversed": (
        "(assert (and (>= 1 X_0) (<= -1.0 X_0) (>= X_1 .25) (<= X_1 5e-1)))",
        "(assert (or (<= Y_1 Y_0) (<= Y_1 Y_2)))",
    ),
    "negation as a form, tighter of two bounds": (
        "(assert (>= X_0 (- 1)))(assert (>= X_0 (- 7.5)))(assert (<= X_0 +1.0))(assert (<= X_1 0.5))(assert (<= X_1 9))"
        "(assert (>= X_1 2.5E-1)) ; comment (with a parenthesis",
        "(assert (or (and (<= Y_1 Y_0))\n (and (and (>= Y_2 Y_1)))))",
    ),
}


@pytest.mark.parametrize("style", FOREIGN)
def test_foreign_spellings(style: str) -> None:
    declared = "".join(f"(declare-const {v} Real)" for v in ("Y_2", "Y_0", "Y_1", "X_1", "X_0"))
    bounds, claim = FOREIGN[style]
    assert same(read_text(declared + claim + bounds, name="f", shape=(1, 1, 2)), TOY)


def test_foreign_spellings_of_version_2() -> None:
    text = (
        TOY_2.replace("X[0,0,0,0]", "X [0, 0, 0, 0]").replace("[1,3]", '[ 1, 3 ] "logits"').replace("float32", "real")
    )
    assert same(read_text(text, name="f"), TOY)
    assert same(read_text(str(vnnlib.parse_query_string(TOY_2)), name="printed by the standard parser"), TOY)


def test_two_classes_need_no_or() -> None:
    text = "(declare-const X_0 Real)(declare-const Y_0 Real)(declare-const Y_1 Real)"
    text += "(assert (<= X_0 1))(assert (>= X_0 0))(assert (<= Y_0 Y_1))"
    prop = read_text(text, name="f")
    assert (prop.label, prop.classes, prop.shape) == (0, 2, (1, 1, 1))


@pytest.mark.parametrize(
    ("pattern", "label", "first"),
    [
        ("oval21/*.vnnlib.gz", 8, (0.05098051577806473, 0.2392157018184662)),
        ("sri_resnet_a/*1551*.gz", 4, (0.35257134, 0.37215337)),
        ("sri_resnet_a/*1876*.gz", 2, (-1.61281538, -1.57821333)),
    ],
)
def test_other_benchmarks_are_read(shared: Path, pattern: str, label: int, first: tuple[float, float]) -> None:
    (file,) = (shared / "third_party").glob(pattern)
    prop = read_property(file)
    assert (prop.label, prop.classes, prop.shape) == (label, 10, (3, 32, 32))
    assert (prop.lower[0], prop.upper[0]) == tuple(np.float32(first))


def test_shape_of_a_flat_file() -> None:
    prop = Property(np.zeros(12, np.float32), np.ones(12, np.float32), 0, 2, (3, 2, 2), "p")
    assert read_text(write_text(prop), name="p").shape == (3, 2, 2)
    assert read_text(write_text(prop), name="p", shape=(1, 3, 4)).shape == (1, 3, 4)
    with pytest.raises(PropertyError, match=r"p: inputs: found 12; allowed: 13, as shape \(1, 1, 13\) asks"):
        read_text(write_text(prop), name="p", shape=(1, 1, 13))
    with pytest.raises(PropertyError, match=r"found 2; allowed: a square image .* Pass shape=\(C, H, W\)"):
        read_text(TOY_1, name="p")


def test_a_declared_shape_is_the_networks() -> None:
    """HWC text was taken for a CHW network, its pixels permuted."""
    prop = Property(np.zeros(12, np.float32), np.ones(12, np.float32), 0, 2, (2, 2, 3), "p")
    text = write_text(prop, "2.0")
    assert read_text(text, name="p", shape=(2, 2, 3)).shape == (2, 2, 3)
    match = r"p: declared shape of the input: found \(1, 2, 2, 3\); allowed: \(1, 3, 2, 2\), the network's"
    with pytest.raises(PropertyError, match=match):
        read_text(text, name="p", shape=(3, 2, 2))


def test_time_of_reading_9408_inputs(record_property: pytest.RecordProperty) -> None:
    n = 3 * 56 * 56
    bounds = np.sort(np.random.default_rng(0).normal(size=(2, n)).astype(np.float32), axis=0)
    prop = Property(bounds[0], bounds[1], 7, 200, (3, 56, 56), "p")
    for version in ("1.0", "2.0"):
        text = write_text(prop, version)
        start = time.perf_counter()
        assert same(read_text(text, name="p"), prop)
        seconds = time.perf_counter() - start
        record_property(f"seconds_{version}", seconds)
        assert seconds < 10  # measured 0.2 to 0.3 s


# refusals

REFUSED_1 = [
    ("", "", r"t: found 'no forms'; allowed: VNN-LIB text"),
    (
        "(assert (<= X_0 1.0))",
        "(assert (<= X_0 1.0)",
        r"line 12: found '\(assert \(<= X_0 1.0\)'; allowed: balanced .* never closed",
    ),
    ("(assert (<= X_0 1.0))", "(assert (<= X_0 1.0)))", r"line 12: .* This one closes nothing"),
    ("(assert (<= X_0 1.0))\n", "", r"t: found 'no upper bound of X_0'; allowed: two bounds for every input"),
    ("(assert (>= X_1 0.25))\n", "", r"t: found 'no lower bound of X_1'"),
    ("X_1 0.5", "X_1 0.125", r"t: X_1: found 'lower bound 0.25 above upper bound 0.125'; allowed: lower <= upper"),
    ("X_0 1.0", "X_0 1e39", r"t: X_0: found \(-1.0, 1e\+39\); allowed: bounds that float32 can hold"),
    ("X_0 1.0", "X_0 nan", r"line 12: found '\(assert \(<= X_0 nan\)\)'; .* Write numbers as -0.5, 1 or 1e-5"),
    ("X_0 1.0", "X_0 1_0", r"Write numbers as -0.5, 1 or 1e-5"),
    ("X_0 1.0", "X_0 X_1", r"line 12: .*allowed: one box"),
    ("X_0 1.0", "X_9 1.0", r"line 12: found .*2 inputs and 3 outputs are declared"),
    ("<= X_0", "< X_0", r"line 12: .*allowed: one box: X_i between two numbers"),
    ("Y_2 Y_1", "Y_3 Y_1", r"line 22: found '\(and \(>= Y_3 Y_1\)\)'.*2 inputs and 3 outputs are declared"),
    ("Y_2 Y_1", "Y_1 Y_2", r"line 20: .* compare with 2 different classes"),
    ("(and (>= Y_2 Y_1))", "(and (>= Y_2 Y_1) (>= Y_0 Y_2))", r"line 22: .*Several boxes or sums are not supported"),
    ("(and (>= Y_2 Y_1))", "(and (>= X_0 0.5))", r"line 22: .*allowed: one `or`"),
    ("(and (>= Y_2 Y_1))", "(and (>= Y_2 0.5))", r"line 22: .*allowed: one `or`"),
    ("(assert (or\n", "(assert (>= Y_0 Y_1))\n(assert (or\n", r"line 21: .*constrained a second time here"),
    ("(declare-const Y_2 Real)", "(declare-const Y_2 Int)", r"line 9: .*allowed: \(declare-const X_i Real\)"),
    ("(declare-const X_1 Real)", "(declare-const X_2 Real)", r"t: found 'no X_1'; allowed: X_0 to X_1, all declared"),
    ("(declare-const X_1 Real)", "(declare-const X_0 Real)", r"line 4: .*allowed: each variable declared once"),
    ("; Input", "Input", r"line 11: found 'Input constraints:'; allowed: forms in parentheses"),
    ("(assert (<= X_0 1.0))", "(check-sat)", r"line 12: found '\(check-sat\)'"),
    ("(assert (<= X_0 1.0))", "(assert)", r"line 12: .*allowed: one formula in an assert"),
    ("(assert (<= X_0 1.0))", "(assert true)", r"line 12: .*allowed: one box"),
]


@pytest.mark.parametrize(("old", "new", "message"), REFUSED_1)
def test_refused_1(old: str, new: str, message: str) -> None:
    assert old in TOY_1
    with pytest.raises(PropertyError, match=message):
        read_text(TOY_1.replace(old, new) if old else new, name="t", shape=(1, 1, 2))


REFUSED_2 = [
    ("<2.0>", "<3.0>", r"line 1: found '\(vnnlib-version <3.0>\)'; allowed: \(vnnlib-version <2.0>\)"),
    ("X[0,0,0,0] 1.0", "X[0,0,1,0] 1.0", r"line 6: .*2 inputs and 3 outputs are declared"),
    ("[1,1,1,2]", "[1,1,1,0]", r"t: X: found '0 elements declared'"),
    ("[1,1,1,2]", "[99999,9999,9999]", r"t: X: found .*elements declared'; allowed: 1 to 2,000,000"),
    ("float32 [1,3]", "int8 [1,3]", r"line 4: .*allowed: a network with one \(declare-input"),
    ("declare-output Y", "declare-output X", r"line 4: .*different names"),
    ("declare-output", "declare-hidden", r"line 2: .*allowed: a network with one"),
    ("(declare-network N", "(declare-network M)(declare-network N", r"line 2: .*allowed: one \(declare-network"),
    ("(>= Y[0,2] Y[0,1])", "(>= (+ Y[0,2] Y[0,0]) Y[0,1])", r"line 10: .*allowed: one `or`"),
    ("(vnnlib-version <2.0>)", "", r"line 2: .*declare-network N'; allowed: \(declare-const"),
]


@pytest.mark.parametrize(("old", "new", "message"), REFUSED_2)
def test_refused_2(old: str, new: str, message: str) -> None:
    assert old in TOY_2
    with pytest.raises(PropertyError, match=message):
        read_text(TOY_2.replace(old, new), name="t")


def test_no_output_constraint() -> None:
    with pytest.raises(PropertyError, match="t: found 'no constraint on the outputs'"):
        read_text(TOY_2.split("(assert (or")[0], name="t")


def test_files_that_are_no_text(tmp_path: Path) -> None:
    packed = gzip_bytes(TOY_1)
    cases = {
        "cut.gz": (packed[:-20], "allowed: a whole gzip file"),
        "damaged.gz": (packed[:30] + b"\xff" * 20 + packed[50:], "allowed: a whole gzip file"),
        "latin.vnnlib": (b"; \xe9", "found 'byte 0xe9'; allowed: UTF-8 text"),
        "zero.vnnlib": (b"(assert\0)", "found 'zero bytes'"),
        "bomb.gz": (gzip_bytes(b" " * (MAX_BYTES + 1)), r"found 'more than 67,108,864 bytes of text'"),
    }
    for name, (data, message) in cases.items():
        (tmp_path / name).write_bytes(data)
        with pytest.raises(PropertyError, match=f"{name}: .*{message}"):
            read_property(tmp_path / name)
    with pytest.raises(PropertyError, match=r"none.vnnlib: found 'No such file or directory'; .* Check the path"):
        read_property(tmp_path / "none.vnnlib")
    with pytest.raises(PropertyError, match="found 'Is a directory'"):
        read_property(tmp_path)


def test_decompression_stops_at_the_limit(tmp_path: Path) -> None:
    (tmp_path / "bomb.gz").write_bytes(gzip_bytes(bytes(20_000_000)))
    tracemalloc.start()
    with pytest.raises(PropertyError, match="found 'more than 1,000 bytes of text'"):
        read_file(tmp_path / "bomb.gz", limit=1000)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2_000_000


def test_gzip_is_told_by_its_bytes_not_by_its_name(tmp_path: Path) -> None:
    (tmp_path / "a.vnnlib").write_bytes(gzip_bytes(TOY_1))
    assert read_file(tmp_path / "a.vnnlib") == TOY_1


def test_deep_nesting_costs_no_recursion() -> None:
    deep = "(and " * 100_000 + "(<= X_0 1.0)" + ")" * 100_000
    assert same(read_text(TOY_1.replace("(<= X_0 1.0)", deep), name="t", shape=(1, 1, 2)), TOY)
    with pytest.raises(PropertyError, match="never closed"):
        read_text("(" * 100_000, name="t")


# fuzzing


def mutated(text: str, seed: int) -> str:
    """`text` after one to five random cuts, copies, swaps and insertions."""
    rng = random.Random(seed)
    for _ in range(rng.randint(1, 5)):
        a, b = sorted(rng.randrange(len(text) + 1) for _ in range(2))
        b = min(b, a + rng.choice((1, 3, 30)))
        piece = rng.choice(
            ("", text[a:b] * 2, text[a:b][::-1], rng.choice([*list('()[]<>;-.,eXY_0 9\n\t"²٣'), "1e9999"]))
        )
        text = text[:a] + piece + text[b:]
    return text


@pytest.mark.parametrize("version", ["1.0", "2.0"])
def test_mutated_files_raise_nothing_but_property_errors(version: str) -> None:
    text, survivors = write_text(TOY, version), 0
    for seed in range(3000):
        try:
            read_text(mutated(text, seed), name="fuzz", shape=(1, 1, 2))
            survivors += 1
        except PropertyError:
            pass
    assert 0 < survivors < 3000


@given(st.text(alphabet=st.sampled_from('()[]<>=;-.,eXY_01 \n"adnorst'), max_size=60))
def test_any_text_is_read_or_refused(text: str) -> None:
    with pytest.raises(PropertyError):
        read_text(text, name="fuzz")


@given(st.binary(max_size=40), st.booleans())
@settings(max_examples=50)
def test_any_bytes_are_read_or_refused(tmp_path_factory: pytest.TempPathFactory, data: bytes, packed: bool) -> None:
    file = tmp_path_factory.mktemp("bytes") / "file"
    file.write_bytes(gzip_bytes(data) if packed else b"\x1f\x8b" + data)
    with pytest.raises(PropertyError):
        read_property(file)
