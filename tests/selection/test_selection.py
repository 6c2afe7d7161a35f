"""The draw: from a seed, independent of order, open images only."""

from dataclasses import replace

import numpy as np
import pytest

from nbutils.core import Box, ImageSet, Normalization, ParameterError, SelectionConfig, Verdict
from nbutils.selection import choose, choose_indices, instances_of

NORMALIZATION = Normalization((0.5,), (0.5,))
LEVELS = np.arange(30 * 4, dtype=np.uint8).reshape(30, 1, 2, 2)
IMAGES = ImageSet(LEVELS, np.arange(30) % 3, np.arange(30) * 10, "toy", ("x", "y", "z"), NORMALIZATION)
VERDICTS = [
    Verdict(image_id, index, int(label), int(label), "verified" if row % 3 == 0 else "open", "crown", 0.5)
    for row, (image_id, index, label) in enumerate(zip(IMAGES.ids, IMAGES.indices.tolist(), IMAGES.labels, strict=True))
]


def indices(chosen):
    return [verdict.index for verdict in chosen]


def test_same_seed_same_draw_and_another_seed_another():
    draws = {seed: indices(choose(VERDICTS, 5, seed)) for seed in range(8)}
    assert draws[0] == indices(choose(VERDICTS, 5, 0))
    assert len({tuple(draw) for draw in draws.values()}) > 6
    assert all(len(draw) == 5 and draw == sorted(draw) for draw in draws.values())
    assert not {index for draw in draws.values() for index in draw} & {v.index for v in VERDICTS if v.status != "open"}


def test_the_draw_of_a_seed_is_fixed_for_all_time():
    """Recorded: the rank of an image is SHA-256 over seed and image, no library's random numbers."""
    assert indices(choose(VERDICTS, 5, 0)) == EXPECTED


EXPECTED = [20, 80, 110, 190, 220]


def test_order_does_not_matter_and_more_images_keep_ranks():
    order = np.random.default_rng(0).permutation(30)
    assert set(indices(choose([VERDICTS[row] for row in order], 7, 3))) == set(indices(choose(VERDICTS, 7, 3)))
    fewer = set(indices(choose(VERDICTS[:20], 7, 3)))
    assert len(set(indices(choose(VERDICTS, 14, 3))) & fewer) >= 4


def test_every_open_image_has_the_same_chance():
    counts = np.bincount([i // 10 for seed in range(600) for i in indices(choose(VERDICTS, 4, seed))], minlength=30)
    assert counts[::3].sum() == 0
    drawn = counts[np.arange(30) % 3 != 0]
    assert drawn.sum() == 2400
    assert abs(drawn - 120).max() < 5 * np.sqrt(120 * 0.8), drawn


def test_fewer_open_images_than_asked_for_are_all_taken():
    assert len(choose(VERDICTS, 1000, 0)) == 20
    assert choose([replace(v, status="attacked") for v in VERDICTS], 5, 0) == []


@pytest.mark.parametrize("count", [0, -1, 2.5, True, "5"])
def test_a_count_that_is_none_is_refused(count):
    with pytest.raises(ParameterError, match="COUNT: found .* a whole number of instances, 1 or more"):
        choose(VERDICTS, count, 0)


def test_a_choice_by_hand_takes_open_images_only():
    assert indices(choose_indices(VERDICTS, (40, 10))) == [10, 40]
    with pytest.raises(ParameterError, match=r"chosen image 30: found verified; allowed: open images \(10, 20, 40"):
        choose_indices(VERDICTS, (30,))
    with pytest.raises(ParameterError, match="chosen image 5: found not among the images"):
        choose_indices(VERDICTS, (5,))


def test_instances_carry_the_box_of_the_attack(tmp_path):
    class Network:
        normalization, classes, name, path = None, 3, "toy", tmp_path / "toy.onnx"
        input_shape = LEVELS.shape[1:]

    config = SelectionConfig(eps=2 / 255)
    (instance,) = instances_of(VERDICTS[4:5], IMAGES, Network, config, 100)
    box = Box.around(IMAGES.pixels[[4]], NORMALIZATION, 2 / 255)
    np.testing.assert_array_equal(instance.property.lower, box.lower.ravel())
    np.testing.assert_array_equal(instance.property.upper, box.upper.ravel())
    assert instance.property.name == "toy_prop_idx_40_eps_0.0078.vnnlib"
    assert (instance.property.label, instance.timeout, instance.verdict) == (1, 100, VERDICTS[4])
    np.testing.assert_array_equal(instance.levels, LEVELS[4])
