"""The loss `crown-row`: its row against auto_LiRPA, by hand, by sampling, and what the loss makes of it."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from torch.nn import functional as F
from training_toys import CPU, TOY, batch_of, toy_network

from nbutils.networks import ARCHITECTURES, ResNet, architectures
from nbutils.networks.architectures import Stage
from nbutils.training import pick_device
from nbutils.training.crown import CrownBounds
from nbutils.training.crown_row import _relu, lower_row, row_margins
from nbutils.training.interval import IntervalPass, batch_statistics, running_statistics
from nbutils.training.losses import resting, training_loss

PLAIN = dataclasses.replace(TOY, name="plain", stem=(4, 2, 0), stages=(Stage(4, 2, 2), Stage(4, 1, 2)), size=11)


@pytest.fixture(autouse=True)
def _toy_architectures(monkeypatch):
    for architecture in (TOY, PLAIN):
        monkeypatch.setitem(architectures.ARCHITECTURES, architecture.name, architecture)


def nearest(logits, labels):
    seen = logits.gather(1, labels[:, None]) - logits
    return seen, seen.scatter(1, labels[:, None], float("inf")).argmin(1)


@pytest.mark.parametrize("architecture", [TOY, PLAIN], ids=lambda a: a.name)
@pytest.mark.parametrize("training", [True, False], ids=["batch-statistics", "running-statistics"])
def test_with_intervals_of_the_whole_box_it_is_crown_ibp(architecture, training):
    network = toy_network(architecture).double().train(training)
    batch = batch_of(network)
    with resting(network), batch_statistics(network) as seen_statistics, torch.no_grad():
        logits = network(batch.adversarial)
    statistics = seen_statistics if training else running_statistics(network)
    margins = row_margins(network, statistics, logits, batch.labels, (batch.lower, batch.upper), 1.0)
    expected = CrownBounds(network, CPU).margins(batch.lower, batch.upper, batch.labels, statistics)
    seen, rival = nearest(logits, batch.labels)
    rows = torch.arange(5)
    torch.testing.assert_close(margins[rows, rival], expected[rows, rival].detach())
    # the others keep their distance to it, the label's own column is 0
    others = F.one_hot(batch.labels, 3) == 0
    lost = (seen - margins)[others].view(5, 2)
    torch.testing.assert_close(lost[:, 0], lost[:, 1])
    assert (margins[rows, batch.labels] == 0).all()


@pytest.mark.parametrize("name", ["CIFAR100_resnet_small", "CIFAR100_resnet_large", "CIFAR100_resnet_super"])
def test_published_architectures_agree_with_auto_lirpa(name):
    torch.manual_seed(0)
    network = ResNet(ARCHITECTURES[name]).eval()
    statistics = running_statistics(network)
    clean = torch.rand(1, 3, 32, 32)
    label = torch.tensor([7])
    lower, upper = clean - 1e-4, clean + 1e-4
    with torch.no_grad():
        logits = network(clean)
        found = row_margins(network, statistics, logits, label, (lower, upper), 1.0)
        expected = CrownBounds(network, CPU).margins(lower, upper, label, statistics)
    rival = nearest(logits, label)[1]
    torch.testing.assert_close(found[0, rival], expected[0, rival], atol=1e-5, rtol=1e-4)


def test_row_is_a_bound_where_the_ranges_hold():
    """Sampled points of the box, the ranges being those of intervals over the whole box."""
    network = toy_network().double().eval()
    batch, statistics = batch_of(network, n=4, eps=0.1), running_statistics(network)
    wanted = torch.randn(4, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    interval = IntervalPass(network, statistics)
    interval.hidden(batch.lower, batch.upper)
    bound = lower_row(network, statistics, wanted, interval.pre_activations, batch.lower, batch.upper)
    rng = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for _ in range(200):
            corner = torch.where(torch.rand(batch.clean.shape, generator=rng) < 0.5, batch.lower, batch.upper)
            assert (bound <= (wanted * network(corner)).sum(1) + 1e-9).all()
        # at a radius of 0 it is the value itself
        points = IntervalPass(network, statistics)
        points.hidden(batch.clean, batch.clean)
        value = lower_row(network, statistics, wanted, points.pre_activations, batch.clean, batch.clean)
        torch.testing.assert_close(value, (wanted * network(batch.clean)).sum(1))


def test_relu_by_hand():
    # active, inactive, unstable in [-1, 3]: chord 3/4 (z + 1); unstable in [-3, 1]: chord 1/4 (z + 3)
    bounds = (torch.tensor([[1.0, -2.0, -1.0, -3.0]]), torch.tensor([[2.0, -1.0, 3.0, 1.0]]))
    up, constant = _relu(torch.tensor([[1.0, 1.0, 1.0, 1.0]]), bounds)
    torch.testing.assert_close(up, torch.tensor([[1.0, 0.0, 1.0, 0.0]]))
    torch.testing.assert_close(constant, torch.tensor([0.0]))
    down, constant = _relu(torch.tensor([[-1.0, -1.0, -1.0, -2.0]]), bounds)
    torch.testing.assert_close(down, torch.tensor([[-1.0, 0.0, -0.75, -0.5]]))
    torch.testing.assert_close(constant, torch.tensor([-0.75 - 1.5]))


def test_smaller_intervals_lose_less():
    network = toy_network().double().eval()
    batch, statistics = batch_of(network, eps=0.2), running_statistics(network)
    logits = network(batch.clean)
    _, rival = nearest(logits, batch.labels)
    rows, whole = torch.arange(5), (batch.lower, batch.upper)
    bounds = [
        row_margins(network, statistics, logits, batch.labels, whole, share)[rows, rival]
        for share in (1e-6, 0.25, 0.5, 1.0)
    ]
    assert all((bounds[0] >= looser - 1e-9).all() for looser in bounds[1:])
    assert (bounds[0] > bounds[-1]).all()
    # without unstable neurons the row is the gradient: value at the centre less half-width times its L1 norm
    x = batch.clean.clone().requires_grad_()
    logits_at = network(x)
    margin = nearest(logits_at, batch.labels)[0][rows, rival]
    (gradient,) = torch.autograd.grad(margin.sum(), x)
    torch.testing.assert_close(
        bounds[0], (margin - 0.2 * gradient.abs().flatten(1).sum(1)).detach(), atol=1e-4, rtol=1e-4
    )


def test_the_loss_is_the_cross_entropy_of_these_margins_over_the_whole_box():
    network = toy_network().double().eval()
    batch = batch_of(network)
    terms = training_loss(network, batch, "crown-row", weight=0.25, box=0.3, bound_share=0.6)
    margins = row_margins(
        network,
        running_statistics(network),
        terms.logits[:3],
        batch.labels[:3],
        (batch.lower[:3], batch.upper[:3]),
        0.3,
    )
    certified = F.cross_entropy(-margins, batch.labels[:3], reduction="none")
    torch.testing.assert_close(terms.certified, certified.mean())
    base = F.cross_entropy(terms.logits, batch.labels, reduction="none")
    torch.testing.assert_close(terms.total, base.mean() + 0.25 * (certified - base[:3]).mean())


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_margins_and_gradients_on_cuda_are_those_of_the_cpu():
    found = {}
    for name in ("cpu", "cuda"):
        device = pick_device(name)  # switches TF32 off
        network = toy_network().eval().to(device)
        at_home = batch_of(network, dtype=torch.float32)
        clean, lower, upper, labels = (
            tensor.to(device) for tensor in (at_home.clean, at_home.lower, at_home.upper, at_home.labels)
        )
        margins = row_margins(network, running_statistics(network), network(clean), labels, (lower, upper), 0.3)
        margins.mean().backward()
        found[name] = [margins.detach().cpu()] + [weight.grad.cpu() for weight in network.parameters()]
    for here, there in zip(found["cpu"], found["cuda"], strict=True):
        torch.testing.assert_close(there, here, atol=1e-5, rtol=1e-4)
