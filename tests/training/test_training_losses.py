"""Losses and the bounds they descend: by hand, by differences, and beside auto_LiRPA."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F
from training_toys import CPU, NORM, TOY, batch_of

from nbutils.bounds import margin_bounds
from nbutils.core import BoundsConfig, Box
from nbutils.networks import ResNet, open_network
from nbutils.training import (
    LOSSES,
    export_onnx,
    validation,
)
from nbutils.training.crown import CrownBounds
from nbutils.training.data import Pixels
from nbutils.training.interval import IntervalPass, batch_statistics, running_statistics
from nbutils.training.losses import certified_init, perturb, resting, shi_regularizer, training_loss


@pytest.mark.parametrize("method", ["ibp", "crown-ibp"])
def test_training_bounds_agree_with_auto_lirpa_on_the_exported_network(toy, method, tmp_path):
    path = export_onnx(toy, tmp_path / "toy.onnx")
    rng = np.random.default_rng(1)
    labels = np.array([0, 1, 2, 1])
    box = Box.around(rng.random((4, 3, 8, 8), dtype=np.float32), NORM, 4 / 255)
    expected = margin_bounds(open_network(path, device="cpu"), box, labels, BoundsConfig(method=method))
    toy.eval()
    lower, upper, rows = torch.from_numpy(box.lower), torch.from_numpy(box.upper), torch.from_numpy(labels)
    statistics = running_statistics(toy)
    if method == "ibp":
        found = IntervalPass(toy, statistics).margins(lower, upper, rows)
    else:
        found = CrownBounds(toy, CPU).margins(lower, upper, rows, statistics)
    found = np.take_along_axis(found.detach().numpy(), expected.rivals, axis=1)
    np.testing.assert_allclose(found, expected.lower, atol=1e-4, rtol=1e-4)


def test_bounds_with_batch_statistics_enclose_the_training_mode_network(toy):
    toy.double().train()
    batch = batch_of(toy, eps=0.02)
    with resting(toy), batch_statistics(toy) as statistics, torch.no_grad():
        logits = toy(batch.clean)
    rows = torch.arange(5)
    margins = logits[rows, batch.labels][:, None] - logits
    # at radius 0 the bound pass is the training-mode forward pass itself
    point = IntervalPass(toy, statistics).margins(batch.clean, batch.clean, batch.labels)
    torch.testing.assert_close(point, margins)
    crown = CrownBounds(toy, CPU)
    bounds = (
        IntervalPass(toy, statistics).margins(batch.lower, batch.upper, batch.labels),
        crown.margins(batch.lower, batch.upper, batch.labels, statistics),
    )
    fused = crown.fused_loss(batch.lower, batch.upper, batch.labels, statistics)
    rng = torch.Generator().manual_seed(0)
    for _ in range(50):
        corner = torch.where(torch.rand(batch.clean.shape, generator=rng) < 0.5, batch.lower, batch.upper)
        seen = IntervalPass(toy, statistics).margins(corner, corner, batch.labels)
        assert all((bound <= seen + 1e-9).all() for bound in bounds)
        assert (fused >= F.cross_entropy(-seen, batch.labels, reduction="none") - 1e-9).all()


def test_fused_loss_is_the_plain_last_layer_loss_where_the_chords_are_exact(toy):
    toy.eval().double()
    crown, statistics = CrownBounds(toy, CPU), running_statistics(toy)
    batch = batch_of(toy)

    def plain(lower, upper):
        return F.cross_entropy(-crown.margins(lower, upper, batch.labels, statistics), batch.labels, reduction="none")

    tiny = 1e-7  # chords of intervals this short are the exponential itself
    found = crown.fused_loss(batch.clean - tiny, batch.clean + tiny, batch.labels, statistics)
    torch.testing.assert_close(found, plain(batch.clean - tiny, batch.clean + tiny), atol=1e-4, rtol=1e-4)


def test_fused_loss_of_two_classes_follows_from_the_plain_bound():
    # one rival: loss = log(1 + chord(u)) at the plain CROWN-IBP bound u, chord over the interval bounds
    torch.manual_seed(1)
    network = ResNet(dataclasses.replace(TOY, classes=2)).eval().double()
    crown, statistics = CrownBounds(network, CPU), running_statistics(network)
    batch = batch_of(network)
    rows, rival = torch.arange(5), 1 - batch.labels
    u = -crown.margins(batch.lower, batch.upper, batch.labels, statistics)[rows, rival]
    low, high = IntervalPass(network, statistics).margin_interval(batch.lower, batch.upper, batch.labels)
    start, end = -high[rows, rival], -low[rows, rival]
    chord = start.exp() + (end.exp() - start.exp()) / (end - start) * (u - start)
    found = crown.fused_loss(batch.lower, batch.upper, batch.labels, statistics)
    torch.testing.assert_close(found, torch.log(1 + chord), atol=1e-4, rtol=1e-4)


def test_small_box_lies_in_the_full_box_around_the_adversarial_point(toy):
    batch = batch_of(toy, eps=0.05)
    lower, upper = batch.small_box(0.25, 3)
    assert lower.shape[0] == 3
    assert (lower >= batch.lower[:3] - 1e-12).all()
    assert (upper <= batch.upper[:3] + 1e-12).all()
    torch.testing.assert_close(upper - lower, torch.full_like(lower, 0.025))
    middle = (batch.adversarial - batch.clean)[:3].abs() < 0.05 * 0.75  # far enough from the edge to stay the centre
    torch.testing.assert_close(((lower + upper) / 2)[middle], batch.adversarial[:3][middle])
    whole = batch.small_box(1.0, 5)
    torch.testing.assert_close(whole[0], batch.lower)
    torch.testing.assert_close(whole[1], batch.upper)


# ---- losses


@pytest.mark.parametrize("training", [True, False], ids=["batch-statistics", "running-statistics"])
@pytest.mark.parametrize("name", ["none", *LOSSES])
def test_gradient_of_every_loss_matches_finite_differences(toy, name, training):
    toy.double().train(training)
    batch, crown = batch_of(toy), CrownBounds(toy, CPU)

    def loss():
        options = {"weight": 0.3, "box": 0.5, "bound_share": 0.6, "regularizer": 0.1, "label_smoothing": 0.1}
        return training_loss(toy, batch, name, crown=crown, **options).total

    with resting(toy):
        toy.zero_grad()
        loss().backward()
        for label, parameter in toy.named_parameters():
            gradient = parameter.grad.flatten()
            values = parameter.data.view(-1)
            for place in {int(gradient.abs().argmax()), 0}:
                kept, step, seen = values[place].item(), 1e-6, []
                for sign in (1, -1):
                    values[place] = kept + sign * step
                    seen.append(loss().item())
                values[place] = kept
                difference = (seen[0] - seen[1]) / (2 * step)
                assert difference == pytest.approx(gradient[place].item(), rel=1e-4, abs=1e-7), label


def test_mixes_at_their_ends_and_by_hand(toy):
    toy.double().train()
    batch = batch_of(toy)
    for name in LOSSES:
        if LOSSES[name].bounds == "ibp":
            with resting(toy):
                terms = training_loss(toy, batch, name, weight=1.0)
                start = training_loss(toy, batch, name, weight=1e-12)
            torch.testing.assert_close(terms.total, terms.certified)
            torch.testing.assert_close(start.total, start.base)
    with resting(toy):
        half = {name: training_loss(toy, batch, name, weight=0.5).total for name in ("mtl-ibp", "exp-ibp", "cc-ibp")}
        terms = training_loss(toy, batch, "mtl-ibp", weight=0.5)
    torch.testing.assert_close(half["mtl-ibp"], (terms.base + terms.certified) / 2)
    # geometric below arithmetic mean; a convex function of mixed margins below the mix of its values
    assert half["exp-ibp"] < half["mtl-ibp"]
    assert half["cc-ibp"] < half["mtl-ibp"]


def test_bounded_rows_stand_for_the_batch(toy):
    toy.double().train()
    batch = batch_of(toy, n=6)
    with resting(toy):
        terms = training_loss(toy, batch, "mtl-ibp", weight=0.5, bound_share=0.5)
        base = F.cross_entropy(terms.logits, batch.labels, reduction="none")
    expected = base.mean() + (0.5 * terms.certified - 0.5 * base[:3].mean())
    torch.testing.assert_close(terms.total, expected)


def test_perturb_by_hand_and_inside_the_box(toy):
    # logits (x, 0), label 0: the cross entropy grows towards smaller x; half-width 0.1 per step of 0.5
    linear = nn.Linear(1, 2, bias=False).double()
    linear.weight.data = torch.tensor([[1.0], [0.0]], dtype=torch.float64)
    x = torch.zeros(1, 1, dtype=torch.float64)
    label = torch.tensor([0])
    one = perturb(linear, x, x - 0.1, x + 0.1, label, 1, 0.5)
    three = perturb(linear, x, x - 0.1, x + 0.1, label, 3, 0.5)
    torch.testing.assert_close(one, torch.full_like(x, -0.05))
    torch.testing.assert_close(three, torch.full_like(x, -0.1))

    toy.train()
    before = {name: value.clone() for name, value in toy.state_dict().items()}
    batch = batch_of(toy, dtype=torch.float32)
    points = perturb(toy, batch.clean, batch.lower, batch.upper, batch.labels, 2, 0.7)
    assert (points >= batch.lower).all()
    assert (points <= batch.upper).all()
    assert not points.requires_grad
    assert all(torch.equal(value, before[name]) for name, value in toy.state_dict().items())


def test_regularizer_by_hand():
    # box of width 1, pre-activations of width 4: tightness 1/4 is 0.25 short of 0.5. Centres 2 (active) and -1
    # (inactive): sums 2 and 1, ratio 1/2; mean 0.5, squared distances 2.25 and 2.25, ratio 1. Total 0.25 / 0.5.
    ones = torch.ones(1)
    bounds = [(torch.tensor([[0.1, -2.9]]), torch.tensor([[3.9, 0.9]]))]
    assert shi_regularizer(bounds, 0 * ones, ones).item() == pytest.approx((0.5 - 1 / 3.8) / 0.5, rel=1e-5)
    bounds = [(torch.tensor([[1.5, -1.25]]), torch.tensor([[2.5, -0.75]]))]  # width 0.75: no tightness penalty
    assert shi_regularizer(bounds, 0 * ones, ones).item() == pytest.approx(0.0, abs=1e-6)
    bounds = [(torch.tensor([[3.5, -1.25]]), torch.tensor([[4.5, -0.75]]))]  # sums 4 and 1: ratio 1/4, 0.25 short
    assert shi_regularizer(bounds, 0 * ones, ones).item() == pytest.approx(0.25 / 0.5, rel=1e-5)


def test_validation_attacks_images_at_even_distances(toy, images, monkeypatch):
    # three classes one after the other, as a source sorted by class has them; the attack changes nothing here
    ordered = images.take(np.argsort(images.labels, kind="stable"))
    attacked = []

    def nothing(network, points, lower, upper, labels, steps, step_size):
        attacked.extend(labels.tolist())
        return points

    monkeypatch.setattr(validation, "perturb", nothing)
    monkeypatch.setattr(validation, "ATTACKED", 4)
    space = Pixels(NORM, CPU)
    found = validation.validate(toy.eval(), ordered, space, 0.01)
    assert attacked == ordered.labels[[0, 16, 32, 48]].tolist()
    right = toy(space.to_network(torch.from_numpy(ordered.pixels))).argmax(1).numpy() == ordered.labels
    assert found["validation_clean"] == pytest.approx(100 * right.mean(), abs=0.01)
    assert found["validation_pgd"] == pytest.approx(100 * right[[0, 16, 32, 48]].mean(), abs=0.01)
    attacked.clear()
    few = ordered.take(range(3))
    validation.validate(toy, few, space, 0.01)
    assert attacked == few.labels.tolist()
    assert validation.validate(toy, ordered.take([]), space, 0.01) == {}


def test_certified_init_deviation():
    torch.manual_seed(0)
    layer = nn.Linear(400, 500)
    certified_init(layer)
    assert layer.weight.std().item() == pytest.approx(np.sqrt(2 * np.pi) / 400, rel=0.02)
    assert not layer.bias.any()
