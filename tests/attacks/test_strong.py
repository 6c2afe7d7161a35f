"""The second stage: losses and APGD by hand, what it finds beyond PGD, reproducibility, refusals."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import toys

from nbutils.attacks import StrongConfig, run_attack, strong_attack
from nbutils.attacks.descent import Batch
from nbutils.attacks.strong import Apgd, checkpoints, closest_rivals, dlr, targeted_dlr
from nbutils.attacks.strong import targeted_margin as loss_of_targets
from nbutils.core import AttackConfig, Box, ParameterError
from nbutils.images import load_images
from nbutils.networks import Network, open_network

SHORT = StrongConfig(steps=10, targets=2, restarts=2, early_stop=False)
LOGITS = torch.tensor([[[5.0, 3.0, 1.0, 0.0], [5.0, 3.0, 1.0, 0.0]]])


def unit_batch() -> Batch:
    """The box [-1, 1] of one number."""
    one = np.ones((1, 1, 1, 1), dtype=np.float32)
    return Batch.of(Box(-one, one, 0 * one), np.array([0]), ["a"], torch.device("cpu"))


def linear_box(half_width: float, count: int = 1) -> Box:
    grey = np.full((count, 1, 2, 2), 0.5, dtype=np.float32)
    return Box.around(grey, toys.HALF, half_width / 2)


# Parts by hand


def test_dlr_by_hand() -> None:
    # Label 0: (5 - 3) / (5 - 1). Label 2: (1 - 5) / (5 - 1).
    assert dlr(LOGITS[:, :1], torch.tensor([[0]])).item() == 0.5
    assert dlr(LOGITS[:, :1], torch.tensor([[2]])).item() == -1


def test_targeted_dlr_by_hand() -> None:
    # Label 0, rivals 2 and 1: margins 4 and 2 over 5 - (1 + 0) / 2.
    values = targeted_dlr(torch.tensor([[2, 1]]))(LOGITS, torch.tensor([[0]]))
    assert values[0].tolist() == pytest.approx([4 / 4.5, 2 / 4.5])
    assert loss_of_targets(torch.tensor([[2, 1]]))(LOGITS, torch.tensor([[0]]))[0].tolist() == [4, 2]


def test_dlr_does_not_change_with_the_scale_of_the_logits() -> None:
    labels = torch.tensor([[0]])
    torch.testing.assert_close(dlr(1000 * LOGITS + 7, labels), dlr(LOGITS, labels))


def test_level_logits_give_a_finite_ratio() -> None:
    level = torch.zeros(1, 1, 5)
    assert dlr(level, torch.tensor([[0]])).item() == 0
    assert targeted_dlr(torch.tensor([[1]]))(level, torch.tensor([[0]])).item() == 0


@pytest.mark.parametrize("loss", [dlr, targeted_dlr(torch.tensor([[2, 0, 3], [0, 1, 2]]))], ids=["dlr", "targeted"])
def test_gradients_match_finite_differences(loss: object) -> None:
    logits = torch.randn(2, 3, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(0), requires_grad=True)
    assert torch.autograd.gradcheck(lambda z: loss(z, torch.tensor([[1], [4]])), logits)


def test_checkpoints_by_hand() -> None:
    # Distances 0.22, 0.19, 0.16, 0.13, 0.10, 0.07, 0.06, 0.06.
    assert checkpoints(100) == (22, 41, 57, 70, 80, 87, 93, 99)
    assert checkpoints(10) == (3, 5, 6, 7, 8, 9, 10)
    assert checkpoints(1) == (1,)
    assert checkpoints(0) == (0,)


def test_apgd_by_hand() -> None:
    # f(x) = |x| on [-1, 1] from 1/2, ten steps, step size 2 half-widths:
    # x1 = clamp(1/2 - 2)                           = -1
    # x2 = -1 + 3/4 (1 - -1) + 1/4 (-1 - 1/2)       = 1/8
    # x3 = 1/8 + 3/4 (-1 - 1/8) + 1/4 (1/8 - -1)    = -7/16
    # Checkpoint at step 3: one improvement (x2) of 3 is below 3/4, so back to x2 with step size 1:
    # x4 = 1/8 + 3/4 (-7/8 - 1/8) + 1/4 (1/8 - x2)  = -5/8
    batch, x, seen = unit_batch(), torch.full((1, 1, 1, 1, 1), 0.5), []
    rule = Apgd(batch, 10)
    for step in range(4):
        x = batch.project(rule(step, x, x.abs()[..., 0, 0, 0], x.sign()))
        seen.append(x.item())
    assert seen == [-1, 1 / 8, -7 / 16, -5 / 8]


def test_apgd_keeps_its_step_while_it_gains() -> None:
    # f(x) = x: the step size stays 2 until the corner is reached; from then on nothing improves and it halves.
    batch, x = unit_batch(), torch.full((1, 1, 1, 1, 1), 0.5)
    rule = Apgd(batch, 10)
    for step in range(10):
        x = batch.project(rule(step, x, x[..., 0, 0, 0], torch.ones_like(x)))
        assert x.item() == -1
    assert rule._scale.item() == 2 / 2**6, "checkpoints 3, 5, 6, 7, 8, 9"


def test_closest_rivals_by_hand(linear: Network) -> None:
    # At 0 the logits are (1, 0, 1/2): of label 0 rival 2 is closer; of label 1 it is rival 0 (margin -1).
    batch = Batch.of(linear_box(0.1, 2), np.array([0, 1]), ["a", "b"], torch.device("cpu"))
    assert closest_rivals(linear, batch, 2).tolist() == [[2, 1], [0, 2]]
    assert closest_rivals(linear, batch, 1).tolist() == [[2], [0]]


# The whole attack


def test_every_stage_reaches_the_exact_minimum(linear: Network) -> None:
    # Half-width 1/16, as in test_attack: m1 >= 3/4 (rival 1), m2 >= 3/16 (rival 2), targets in the order 2, 1.
    config = StrongConfig(steps=30, targets=2, restarts=3)
    trace = strong_attack(linear, linear_box(1 / 16), np.array([0]), ["a"], config)
    assert trace.margins.shape == (1, 31, 2 + 3 + 2)
    lowest = trace.margins[0].min(axis=0)
    np.testing.assert_array_equal(lowest[[0, 2, 3, 4, 5]], np.full(5, 0.1875, dtype=np.float32))
    assert trace.losses[0, :, 1].min() == 0.75
    assert trace.smallest[0] == np.float32(0.1875)
    assert trace.steps_used[0] == 90


def test_finds_what_one_restart_of_pgd_misses(tmp_path: Path) -> None:
    # Lead 1.75: where h2 < 3/8 rival 2 is closer and its margin, never below 1, is a trap; rival 1 gets to -1/4.
    network = open_network(toys.two_neuron_net(tmp_path, 1.75), device="cpu")
    ids = [f"image {number}" for number in range(40)]
    arguments = network, toys.two_neuron_box(40), np.zeros(40, dtype=np.int64), ids
    missed = ~run_attack(*arguments, AttackConfig(restarts=1, steps=30)).success
    assert 0 < missed.sum() < 40
    assert strong_attack(*arguments, StrongConfig(steps=30)).success.all()


def test_points_stay_in_the_box_and_stages_share_the_axis(tiny_resnet: Network) -> None:
    middle = np.random.default_rng(5).uniform(0, 1, (3, 3, 8, 8)).astype(np.float32)
    width = np.random.default_rng(6).uniform(0, 0.2, middle.shape).astype(np.float32)  # another in each element
    box, labels, ids = Box(middle - width, middle + width, middle), np.arange(3), list("abc")
    trace = strong_attack(tiny_resnet, box, labels, ids, SHORT, keep_paths=True)
    assert trace.margins.shape == trace.losses.shape == (3, 11, 6)
    for points in trace.paths.reshape(3, -1, 3, 8, 8).swapaxes(0, 1):
        assert box.contains(points).all()
    np.testing.assert_allclose(trace.smallest, trace.margins.min(axis=(1, 2)), atol=1e-5)
    assert (trace.steps_used == 30).all()
    alone = strong_attack(tiny_resnet, box.take([2]), labels[[2]], ids[2:], SHORT)
    together = strong_attack(tiny_resnet, box, labels, ids, SHORT, images_per_pass=3)
    np.testing.assert_array_equal(alone.margins[0], trace.margins[2])
    np.testing.assert_array_equal(together.margins, trace.margins)
    np.testing.assert_array_equal(together.points, trace.points)


def test_settled_images_skip_later_stages(linear: Network) -> None:
    trace = strong_attack(linear, linear_box(1 / 8), np.array([0]), ["a"], StrongConfig(steps=30))
    assert trace.success[0]
    assert trace.steps_used[0] < 30
    assert np.isnan(trace.margins[0, :, 2:]).all()
    assert not np.isnan(trace.margins[0, 0, :2]).any()


@pytest.mark.parametrize("classes", [2, 3])
def test_few_classes(tmp_path: Path, classes: int) -> None:
    network = open_network(toys.random_mlp(tmp_path, 3, classes=classes), device="cpu")
    middle = np.random.default_rng(5).uniform(0, 1, (1, 1, 4, 4)).astype(np.float32)
    box = Box(middle - 0.1, middle + 0.1, middle)
    config = StrongConfig(steps=10, early_stop=False)
    trace = strong_attack(network, box.take([0]), np.array([0]), ["a"], config)
    assert trace.margins.shape[2] == 2 * (classes - 1) + 5
    assert np.isfinite(trace.margins).all()
    assert (trace.margins.min(axis=1) < trace.margins[:, 0]).any()


def test_embedded_images_finds_at_least_what_pgd_found(small_network: Network) -> None:
    images = load_images("embedded").take([3, 15])
    box = Box.around(images.pixels, images.normalization, 2 / 255)
    pgd = run_attack(small_network, box, images.labels, images.ids, AttackConfig(steps=10, restarts=4))
    assert pgd.success.tolist() == [True, False]
    config = StrongConfig(steps=10, targets=4, restarts=1)
    strong = strong_attack(small_network, box, images.labels, images.ids, config)
    assert strong.success[pgd.success].all()
    assert box.contains(strong.points).all()
    assert strong.smallest[1] < pgd.smallest[1], "targets find a lower margin of image 15"


# Settings


@pytest.mark.parametrize(
    ("field", "value", "allowed"),
    [
        ("steps", -1, "a whole number from 0 to 100000"),
        ("steps", 2.0, "a whole number from 0 to 100000"),
        ("targets", 0, "a whole number from 1 to 100000"),
        ("restarts", True, "a whole number from 1 to 100000"),
        ("seed", -1, "a whole number from 0 to"),
        ("step_size", 0, "a fraction of the box's half-width, above 0 and at most 2"),
        ("step_size", "1", "a fraction of the box's half-width, above 0 and at most 2"),
    ],
)
def test_settings_refuse(field: str, value: object, allowed: str) -> None:
    with pytest.raises(ParameterError, match=f"{field}: found {value!r}; allowed: {allowed}"):
        StrongConfig(**{field: value})


def test_settings_have_a_digest() -> None:
    assert StrongConfig().digest == StrongConfig().digest != StrongConfig(targets=3).digest
    assert StrongConfig().digest != AttackConfig().digest


def test_refuses_what_pgd_refuses(linear: Network) -> None:
    with pytest.raises(ParameterError, match=r"label: found \[3\]; allowed: 0 to 2, the classes of linear"):
        strong_attack(linear, linear_box(0.1), np.array([3]), ["a"], SHORT)
