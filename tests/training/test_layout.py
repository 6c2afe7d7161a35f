"""The memory format of training: fast where it is right, and weight gradients that are those of float64."""

from __future__ import annotations

import copy
import dataclasses

import pytest
import torch
from training_toys import TOY, batch_of, toy_config, toy_network

from nbutils.networks import ARCHITECTURES, architectures, in_memory_format
from nbutils.networks.architectures import Stage
from nbutils.training import TrainConfig
from nbutils.training.losses import Batch, training_loss


def test_published_networks_train_in_channels_last_and_narrow_ones_do_not(monkeypatch):
    published = [name for name in ARCHITECTURES if name not in ("toy", "other")]
    assert {TrainConfig(network=name).layout for name in published} == {torch.channels_last}
    assert TrainConfig(network=published[0], channels_last=False).layout == torch.contiguous_format
    assert TOY.narrowest_shortcut == 4
    assert toy_config().layout == torch.contiguous_format
    even = dataclasses.replace(TOY, name="even", stages=(Stage(4, 1, 1), Stage(8, 1, 1)))  # no stride, no such shortcut
    monkeypatch.setitem(architectures.ARCHITECTURES, "even", even)
    assert toy_config(network="even").layout == torch.channels_last


@pytest.mark.parametrize("loss", ["none", "sabr", "crown-row"])
@pytest.mark.parametrize("side", [8, 15, 28])
def test_weight_gradients_of_a_narrow_network_are_those_of_float64(loss, side, monkeypatch):
    # where oneDNN's code for strided 1x1 convolutions is met, they were noise of another size in every call
    toy = dataclasses.replace(TOY, name="toy", size=side)
    monkeypatch.setitem(architectures.ARCHITECTURES, "toy", toy)
    exact = toy_network(toy).double()
    network = in_memory_format(copy.deepcopy(exact).float(), toy_config().layout)
    whole = batch_of(exact, n=16)

    def gradients(model, dtype, layout):
        sides = (getattr(whole, name) for name in ("clean", "adversarial", "lower", "upper"))
        batch = Batch(*(x.to(dtype).contiguous(memory_format=layout) for x in sides), whole.labels)
        model.zero_grad()
        training_loss(model, batch, loss, weight=0.3, box=0.1).total.backward()
        return {name: weight.grad.clone() for name, weight in model.named_parameters()}

    wanted = gradients(exact, torch.float64, torch.contiguous_format)
    for _ in range(5):
        for name, found in gradients(network, torch.float32, toy_config().layout).items():
            close = (found.double() - wanted[name]).abs().max() <= 1e-3 * wanted[name].abs().max() + 1e-6
            assert close, name
