"""Errors, settings, random streams, records and margins: by hand, and as properties."""

from __future__ import annotations

import hashlib
import subprocess
import sys

import numpy as np
import pytest
import torch
import toys
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from nbutils.core import (
    AttackConfig,
    BoundsConfig,
    Box,
    ImageError,
    ImageSet,
    MarginBounds,
    Normalization,
    ParameterError,
    Property,
    SelectionConfig,
    Verdict,
    WorkbenchError,
    check_eps,
    class_margins,
    draw,
    eps_from_255,
    errors,
    parse_eps,
    require,
    rivals,
    settings,
    specification,
    stream,
)

CIFAR100 = Normalization((0.5071, 0.4865, 0.4409), (0.2673, 0.2564, 0.2761))
LEVELS = hnp.arrays(np.uint8, (2, 3, 2, 3))
RADII = st.floats(min_value=1e-6, max_value=0.999)


def images(n: int = 5) -> ImageSet:
    levels = np.random.default_rng(0).integers(0, 256, (n, 3, 2, 2)).astype(np.uint8)
    names = ("apple", "aquarium_fish", "baby")
    return ImageSet(levels, np.arange(n) % 3, np.arange(n) + 100, "toy", names, CIFAR100)


# errors


def test_message_names_parameter_value_allowed_and_next_step() -> None:
    with pytest.raises(ParameterError) as caught:
        require(False, "steps", -1, "0 or more", "write 0 for none")
    assert str(caught.value) == "steps: found -1; allowed: 0 or more. write 0 for none."


def test_long_values_are_shortened_and_true_passes() -> None:
    require(True, "steps", 1, "anything")
    with pytest.raises(ImageError, match=r"^x: found 'a{116}\.\.\.; allowed: less\.$"):
        require(False, "x", "a" * 500, "less", error=ImageError)


def test_every_error_is_a_workbench_error() -> None:
    family = [value for value in vars(errors).values() if isinstance(value, type)]
    assert all(issubclass(error, WorkbenchError) for error in family)
    assert issubclass(ParameterError, ValueError)


# settings


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (lambda: AttackConfig(steps=-1), "steps: found -1; allowed: a whole number from 0"),
        (lambda: AttackConfig(steps=1.5), r"steps: found 1\.5; allowed: a whole number"),
        (lambda: AttackConfig(restarts=0), "restarts: found 0; allowed: a whole number from 1"),
        (lambda: AttackConfig(restarts=True), "restarts: found True"),
        (lambda: AttackConfig(step_size=0), "step_size: found 0; allowed: a fraction of the box's half-width"),
        (lambda: AttackConfig(step_size=float("nan")), "step_size: found nan"),
        (lambda: AttackConfig(loss="hinge"), "loss: found 'hinge'; allowed: margin or cross_entropy"),
        (lambda: AttackConfig(seed=-1), "seed: found -1"),
        (lambda: BoundsConfig(method="deeppoly"), "method: found 'deeppoly'; allowed: ibp, crown-ibp, crown, alpha"),
        (lambda: BoundsConfig(alpha_steps=0), "alpha_steps: found 0"),
        (lambda: BoundsConfig(alpha_lr=0), "alpha_lr: found 0; allowed: a step length"),
        (lambda: BoundsConfig(tolerance=-1e-9), "tolerance: found -1e-09; allowed: a number of logits, 0 or more"),
        (lambda: BoundsConfig(tolerance=float("nan")), "tolerance: found nan"),
        (lambda: BoundsConfig(memory_gb=0), "memory_gb: found 0; allowed: gigabytes"),
        (lambda: SelectionConfig(eps=2), "eps: found 2; .*write 2/255, not 2"),
        (lambda: settings.check_method("CROWN"), "method: found 'CROWN'; allowed: ibp"),
    ],
)
def test_nonsense_settings(settings, message: str) -> None:
    with pytest.raises(ParameterError, match=message):
        settings()


@pytest.mark.parametrize("eps", [0, -1 / 255, 1, 2, 255, float("nan"), float("inf"), "1/255", None, True])
def test_eps_outside_pixel_units(eps: object) -> None:
    with pytest.raises(ParameterError, match="eps: found .*above 0 and below 1. pixels lie in .* write 2/255, not 2"):
        check_eps(eps)


@pytest.mark.parametrize("text", ["", "one", "1/0", "1/255/2", "nan"])
def test_eps_that_is_no_number(text: str) -> None:
    with pytest.raises(ParameterError, match=r"eps: found .*allowed: a fraction as 2/255 or a decimal as 0\.0078"):
        parse_eps(text)


def test_eps_spellings_agree() -> None:
    assert parse_eps("1/255") == parse_eps(" 1/255 ") == eps_from_255(1) == eps_from_255(1.0) == 1 / 255
    assert parse_eps("0.0078") == 0.0078
    with pytest.raises(ParameterError, match="write 2/255, not 2"):
        parse_eps("2")


@pytest.mark.parametrize("steps", [0, -1, 255, "1", None, True, float("nan")])
def test_eps_255_outside_its_range(steps: object) -> None:
    with pytest.raises(ParameterError, match=r"EPS_255: found .*above 0 and below 255. the published radius is 1\.0"):
        eps_from_255(steps)


def test_eps_255_given_as_a_fraction() -> None:
    with pytest.raises(ParameterError, match=r"EPS_255: found 0\.0039.*write 1\.0 for a radius of 1/255, not 1/255"):
        eps_from_255(1 / 255)


def test_digest_follows_what_changes_results_and_nothing_else() -> None:
    base = SelectionConfig()
    assert base.digest == SelectionConfig().digest
    assert len(base.digest) == 12
    assert hash(base) == hash(SelectionConfig())
    changed = [
        SelectionConfig(eps=2 / 255),
        SelectionConfig(attack=AttackConfig(seed=1)),
        SelectionConfig(attack=AttackConfig(early_stop=False)),
        SelectionConfig(bounds=BoundsConfig(method="ibp")),
    ]
    assert len({base.digest, *(settings.digest for settings in changed)}) == 1 + len(changed)
    assert SelectionConfig(bounds=BoundsConfig(memory_gb=1)).digest == base.digest  # speed only
    assert BoundsConfig(alpha_lr=1).digest == BoundsConfig(alpha_lr=1.0).digest  # equal settings, however written
    assert base.as_dict()["attack"]["steps"] == 100


def test_published_defaults() -> None:
    settings = SelectionConfig()
    assert (settings.eps, settings.attack.steps, settings.attack.restarts) == (1 / 255, 100, 20)
    assert settings.bounds.method == "crown"


def test_root_is_this_checkout(monkeypatch: pytest.MonkeyPatch) -> None:
    assert (settings.root() / "nbutils" / "core" / "settings.py").is_file()
    monkeypatch.chdir("/")
    assert (settings.root() / "nbutils" / "core" / "settings.py").is_file()


# random streams


def test_streams_are_named_and_independent_of_order() -> None:
    first = stream(0, "start", "abc", 1).random(4)
    stream(0, "start", "abc", 2).random(1000)
    np.testing.assert_array_equal(stream(0, "start", "abc", 1).random(4), first)
    others = [stream(1, "start", "abc", 1), stream(0, "start", "abc", 2), stream("0", "start", "abc", 1)]
    assert all((other.random(4) != first).any() for other in others)


def test_stream_is_the_same_in_another_process() -> None:
    code = "from nbutils.core.randomness import stream; print(stream(7, 'start', 'id', 3).random(3).tobytes().hex())"
    other = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=settings.root()
    )
    assert other.stdout.strip() == stream(7, "start", "id", 3).random(3).tobytes().hex()


@given(st.sets(st.text(min_size=1), min_size=1, max_size=20), st.integers(0, 99), st.randoms())
def test_draw_does_not_depend_on_order(names: set[str], seed: int, shuffler) -> None:
    ids = sorted(names)
    count = 1 + seed % len(ids)
    chosen = draw(ids, count, seed, "test")
    assert chosen == sorted(set(chosen))
    assert len(chosen) == count
    shuffled = ids.copy()
    shuffler.shuffle(shuffled)
    assert {shuffled[row] for row in draw(shuffled, count, seed, "test")} == {ids[row] for row in chosen}


def test_another_seed_draws_others() -> None:
    ids = [str(number) for number in range(100)]
    draws = {tuple(draw(ids, 10, seed, "test")) for seed in range(20)}
    assert len(draws) == 20
    assert draw(ids, 10, 0, "test") != draw(ids, 10, 0, "another purpose")


# records


def test_image_is_its_hash_and_keeps_its_index() -> None:
    toy = images()
    assert toy.ids[2] == hashlib.sha256(toy.levels[2].tobytes()).hexdigest()
    part = toy.take([3, 1])
    assert (part.ids, part.indices.tolist()) == ((toy.ids[3], toy.ids[1]), [103, 101])
    assert part.name_of(1) == "aquarium fish"
    np.testing.assert_array_equal(toy.pixels, toy.levels.astype(np.float32) / np.float32(255))
    np.testing.assert_array_equal(toy.pixels_of([1, 0]), toy.pixels[[1, 0]])
    assert toy.keys is toy.keys, "made once: loops read it"


def test_sample_does_not_depend_on_order() -> None:
    toy = images()
    chosen = set(toy.sample(3, seed=4).ids)
    assert set(toy.take([4, 2, 0, 1, 3]).sample(3, seed=4).ids) == chosen
    assert len({toy.sample(2, seed=seed).ids for seed in range(10)}) > 1
    with pytest.raises(ParameterError, match="number of images: found 6; allowed: 1 to 5, as many as toy has"):
        toy.sample(6, seed=0)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"levels": np.zeros((5, 3, 2, 2), np.float32)}, r"toy: levels: found \('float32'.*allowed: uint8 \[N, C, H"),
        ({"levels": np.zeros((5, 12), np.uint8)}, r"toy: levels: found .*uint8 \[N, C, H, W\]"),
        ({"labels": np.zeros(4, int)}, "toy: labels and indices: found .*one for each of 5 images"),
        ({"labels": np.array([0, 1, 3, 0, 0])}, "toy: label of image 102: found 3; allowed: 0 to 2"),
        ({"labels": np.array([0, -1, 0, 0, 0])}, "toy: label of image 101: found -1"),
    ],
)
def test_inconsistent_images(change: dict, message: str) -> None:
    toy = images()
    fields = {
        name: getattr(toy, name) for name in ("levels", "labels", "indices", "source", "class_names", "normalization")
    }
    with pytest.raises(ImageError, match=message):
        ImageSet(**(fields | change))


@pytest.mark.parametrize(
    ("mean", "std", "message"),
    [
        ((0.5,), (), "normalization: found .*allowed: as many means as stds"),
        ((0.5,), (0,), "normalization std: found .*allowed: numbers above 0"),
    ],
)
def test_normalization_that_cannot_be(mean: tuple, std: tuple, message: str) -> None:
    with pytest.raises(ParameterError, match=message):
        Normalization(mean, std)


def test_normalization_of_other_channels() -> None:
    with pytest.raises(ImageError, match=r"image shape: found \(1, 1, 2, 2\); allowed: \[\.\.\., 3, H, W\]"):
        CIFAR100.to_network(np.zeros((1, 1, 2, 2), np.float32))


@given(LEVELS)
def test_normalization_and_back(levels: np.ndarray) -> None:
    pixels = levels.astype(np.float32) / np.float32(255)
    np.testing.assert_allclose(CIFAR100.to_pixels(CIFAR100.to_network(pixels)), pixels, atol=1e-6)


@given(LEVELS, RADII)
def test_box_is_the_published_formula_to_the_byte(levels: np.ndarray, eps: float) -> None:
    pixels = torch.from_numpy(levels).float() / 255
    mean, std = (torch.tensor(value).view(3, 1, 1) for value in (CIFAR100.mean, CIFAR100.std))
    box = Box.around(levels.astype(np.float32) / np.float32(255), CIFAR100, eps)
    expected = {
        "lower": (torch.clamp(pixels - eps, 0, 1) - mean) / std,
        "upper": (torch.clamp(pixels + eps, 0, 1) - mean) / std,
        "center": (pixels - mean) / std,
    }
    for name, tensor in expected.items():
        assert getattr(box, name).tobytes() == tensor.numpy().tobytes(), name


@given(LEVELS, RADII)
def test_box_holds_its_center_and_its_ends_and_nothing_beyond(levels: np.ndarray, eps: float) -> None:
    box = Box.around(levels.astype(np.float32) / np.float32(255), CIFAR100, eps)
    for point in (box.center, box.lower, box.upper):
        assert box.contains(point).all()
    assert not box.contains(np.nextafter(box.lower, np.float32(-np.inf))).any()
    assert not box.contains(np.nextafter(box.upper, np.float32(np.inf))).any()
    assert len(box) == len(list(box)) == 2
    np.testing.assert_array_equal(next(iter(box)).lower, box.take([0]).lower)


def test_box_stays_within_the_pixels_and_refuses_nonsense() -> None:
    box = Box.around(np.float32([0, 1]).reshape(1, 1, 1, 2), toys.HALF, 0.25)
    np.testing.assert_array_equal(box.lower.ravel(), np.float32([-1, 0.5]))
    np.testing.assert_array_equal(box.upper.ravel(), np.float32([-0.5, 1]))
    for eps in (0, -0.1, 2):
        with pytest.raises(ParameterError, match="eps: found .*write 2/255, not 2"):
            Box.around(np.zeros((1, 1, 1, 1), np.float32), toys.HALF, eps)


@pytest.mark.parametrize(
    ("lower", "upper", "message"),
    [
        (np.float32([[0, 0]]), np.float32([[1]]), "box: found .*three arrays of one shape"),
        (np.float64([[0]]), np.float32([[1]]), "box lower: found 'float64'; allowed: float32"),
        (np.float32([[0]]), np.float32([[np.nan]]), "box upper: found 'NaN or infinity'; allowed: finite"),
        (np.float32([[2]]), np.float32([[1]]), "box: found 'lower above upper'"),
    ],
)
def test_boxes_that_cannot_be(lower: np.ndarray, upper: np.ndarray, message: str) -> None:
    with pytest.raises(ParameterError, match=message):
        Box(lower, upper, np.float32([[1]]))


def test_property_gives_its_box() -> None:
    lower, upper = np.float32([0, -1, 2, 3]), np.float32([1, 1, 2, 4])
    box = Property(lower, upper, 1, 3, (1, 2, 2)).box
    assert box.lower.tobytes() == lower.tobytes()
    assert box.upper.tobytes() == upper.tobytes()
    np.testing.assert_array_equal(box.center.ravel(), np.float32([0.5, 0, 2, 3.5]))


@pytest.mark.parametrize(
    ("size", "label", "message"),
    [
        (3, 0, "property p: bounds: found .*flat arrays of 4 numbers"),
        (4, 3, "property p: label: found 3; allowed: 0 to 2"),
    ],
)
def test_inconsistent_property(size: int, label: int, message: str) -> None:
    with pytest.raises(ParameterError, match=message):
        Property(np.zeros(size, np.float32), np.zeros(size, np.float32), label, 3, (1, 2, 2), name="p")


def test_verified_asks_for_more_than_the_tolerance() -> None:
    lower = np.float32([[0.5, 2], [1, 0.25], [-1, 3]])
    bounds = MarginBounds("ibp", lower, rivals([0, 0, 0], 3), np.zeros(3, int), np.zeros(3), tolerance=0.25)
    assert bounds.smallest.tolist() == [0.5, 0.25, -1]
    assert bounds.verified.tolist() == [True, False, False]


def test_hardness_is_the_gap_between_attack_and_bound() -> None:
    verdict = Verdict("id", 0, 1, 1, "open", "crown", 2.0, attack_margin=0.75, bound=-0.25)
    assert verdict.hardness == 1.0
    assert Verdict("id", 0, 1, 2, "misclassified", "margins", -1.0).hardness is None
    with pytest.raises(ParameterError, match="status: found 'robust'; allowed: misclassified, attacked"):
        Verdict("id", 0, 1, 1, "robust", "crown", 2.0)


# margins


def test_margins_by_hand() -> None:
    logits = np.float32([[3, 1, 2], [0, 5, 5], [1, 2, 4]])
    margins = class_margins(logits, [0, 2, 1])
    assert margins.values.tolist() == [[2, 1], [5, 0], [1, -2]]
    assert margins.rivals.tolist() == [[1, 2], [0, 1], [0, 2]]
    assert margins.predicted.tolist() == [0, 1, 2]  # on a tie the lowest class number
    assert margins.smallest.tolist() == [1, 0, -2]  # a tie is no win


def test_specification_by_hand() -> None:
    assert specification([1], 3).tolist() == [[[-1, 1, 0], [0, 1, -1]]]
    assert specification([0, 1], 2).tolist() == [[[1, -1]], [[-1, 1]]]


@given(st.data(), st.integers(2, 12), st.integers(1, 5))
def test_specification_rivals_and_margins_agree(data: st.DataObject, classes: int, n: int) -> None:
    labels = data.draw(hnp.arrays(np.int64, n, elements=st.integers(0, classes - 1)))
    logits = data.draw(hnp.arrays(np.float32, (n, classes), elements=st.integers(-1000, 1000)))
    margins = class_margins(logits, labels)
    np.testing.assert_array_equal(np.einsum("nrk,nk->nr", specification(labels, classes), logits), margins.values)
    for label, columns in zip(labels, rivals(labels, classes), strict=True):
        assert columns.tolist() == [c for c in range(classes) if c != label]
    wins = margins.smallest > 0
    assert (margins.predicted[wins] == labels[wins]).all()
    assert (margins.smallest[margins.predicted != labels] <= 0).all()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: rivals([0, 3], 3), r"label: found \[0, 3\]; allowed: 0 to 2"),
        (lambda: rivals([-1], 3), r"label: found \[-1\]; allowed: 0 to 2"),
        (lambda: rivals([0], 1), "classes: found 1; allowed: 2 or more"),
        (lambda: specification([3], 3), r"label: found \[3\]; allowed: 0 to 2"),
        (lambda: class_margins(np.zeros((2, 3), np.float32), [0]), r"logits: found \(2, 3\); allowed: \[1, K\]"),
        (lambda: class_margins(np.zeros(3, np.float32), [0, 1, 2]), r"logits: found \(3,\); allowed: \[3, K\]"),
    ],
)
def test_labels_that_do_not_fit(call, message: str) -> None:
    with pytest.raises(ParameterError, match=message):
        call()


def test_json_of_others_is_read_and_deep_nesting_is_refused():
    import sys

    from nbutils.core import foreign_json

    assert foreign_json.parse('{"a": ["[[[[", {"b\\"]": 1}]}') == {"a": ["[[[[", {'b"]': 1}]}
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(10**9)  # as some packages do: the standard parser would end the process
    try:
        with pytest.raises(ValueError, match="nested deeper than 64 levels"):
            foreign_json.parse("[" * 10**6 + "]" * 10**6)
    finally:
        sys.setrecursionlimit(limit)
    assert foreign_json.parse("[" * 64 + "]" * 64) is not None
    with pytest.raises(ValueError, match="Expecting"):
        foreign_json.parse("{")
