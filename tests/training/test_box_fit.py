"""The size of `crown-row`'s small box: against CROWN-IBP, against CROWN and samples, and on the command line."""

from __future__ import annotations

import argparse
import dataclasses

import numpy as np
import pytest
import torch
from training_toys import NORM, TOY, toy_config, toy_images, toy_network

from nbutils.bounds import margin_bounds
from nbutils.bounds.methods import engine_of
from nbutils.commands import train as train_command
from nbutils.core import BoundsConfig, Box, ParameterError, class_margins
from nbutils.images import DATASETS
from nbutils.networks import architectures
from nbutils.training import export_onnx, fit_box, load_network, nearest_rows, train
from nbutils.training.box_fit import BOXES, _largest, _traced

EPS = 4 / 255


@pytest.fixture(autouse=True)
def _toy_architecture(monkeypatch):
    monkeypatch.setitem(architectures.ARCHITECTURES, TOY.name, TOY)


def judged_right(network, count=40):
    """Images whose labels are what the network says."""
    images = toy_images(count)
    with torch.no_grad():
        logits = network(torch.from_numpy(NORM.to_network(images.pixels)))
    return type(images)(images.levels, logits.argmax(1).numpy(), images.indices, "toy", images.class_names, NORM)


def test_rows_over_intervals_of_the_whole_box_are_crown_ibp():
    network = toy_network().eval()
    images = judged_right(network, 60)
    box = Box.around(images.pixels, NORM, EPS)
    bounds = margin_bounds(_traced(network), box, images.labels, BoundsConfig(method="crown-ibp"))
    with torch.no_grad():
        margins = class_margins(network(torch.from_numpy(box.center)).numpy(), images.labels).values
    expected = np.take_along_axis(bounds.lower, margins.argmin(1)[:, None], axis=1)[:, 0]
    np.testing.assert_allclose(nearest_rows(network, box, images.labels, 1.0), expected, atol=1e-4, rtol=1e-4)


def test_crown_goes_back_by_its_own_pass_as_with_an_onnx_file():
    network = toy_network().eval()
    assert any(isinstance(module, torch.nn.Identity) for module in network.modules())
    traced = _traced(network)
    assert engine_of(traced)._pass.usable
    x = torch.from_numpy(NORM.to_network(toy_images(5).pixels))
    torch.testing.assert_close(traced.module(x), network(x))


def test_fit_is_where_the_row_loses_what_crown_does():
    network = toy_network().eval()
    images = judged_right(network)
    fit = fit_box(network, images, EPS)
    box = Box.around(images.pixels, NORM, EPS)
    rows = nearest_rows(network, box, images.labels, fit.fitting)
    assert fit.images == 40
    assert BOXES[0] < fit.fitting < 1
    assert fit.margin - rows.mean() == pytest.approx(fit.crown, rel=1e-2)
    assert (np.diff(fit.lost) >= -1e-6).all()
    assert fit.lost[0] < fit.crown
    # no corner lies below CROWN's bound: against the nearest rival CROWN loses at least what the worst sampled one does
    with torch.no_grad():
        nearest = class_margins(network(torch.from_numpy(box.center)).numpy(), images.labels).values.argmin(1)
        rng, worst = np.random.default_rng(0), np.full(40, np.inf)
        for _ in range(100):
            corner = np.where(rng.random(box.lower.shape) < 0.5, box.lower, box.upper)
            there = class_margins(network(torch.from_numpy(corner)).numpy(), images.labels).values
            worst = np.minimum(worst, there[np.arange(40), nearest])
    assert fit.margin > worst.mean()
    assert fit.crown >= fit.margin - worst.mean() - 1e-5


def test_wrong_images_are_left_out_and_all_wrong_is_an_error():
    network = toy_network().eval()
    images = judged_right(network, 6)
    labels = images.labels.copy()
    labels[:2] = (labels[:2] + 1) % 3
    some = type(images)(images.levels, labels, images.indices, "toy", images.class_names, NORM)
    fit, expected = fit_box(network, some, EPS), fit_box(network, images.take(range(2, 6)), EPS)
    assert (fit.images, fit.fitting) == (4, expected.fitting)
    assert fit.crown == pytest.approx(expected.crown, rel=1e-5)  # margins in float32, of batches of six and of four
    with pytest.raises(ParameterError, match="images: found '2, none classified correctly'"):
        fit_box(network, some.take([0, 1]), EPS)


def test_search_ends_at_the_step():
    assert _largest(lambda size: size <= 0.0337) == pytest.approx(0.0337, rel=1e-3)


def test_command_prints_the_box_for_an_onnx_file_and_for_a_checkpoint(tmp_path, capsys, monkeypatch):
    images = toy_images(64)
    np.savez(tmp_path / "toy.npz", images=images.levels, labels=images.labels, class_names=images.class_names)
    own = {"name": "toy", "classes": 3, "stored": 8, "side": 8, "class_names": images.class_names}
    monkeypatch.setitem(DATASETS, "toy", dataclasses.replace(DATASETS["cifar100"], **own))
    checkpoint, settings = tmp_path / "run" / "last.pt", f"toy --set validation=20 --set eps={EPS} --device cpu"
    train(toy_config(epochs=4), images, tmp_path / "run", device="cpu", progress=False)
    network = load_network(checkpoint)[1]
    file = export_onnx(network, tmp_path / "toy.onnx", dataset=None, normalization=NORM, recipe="toy")

    def command(words):
        parser = argparse.ArgumentParser()
        train_command.add_arguments(parser)
        given = f"{settings} --path {tmp_path / 'toy.npz'} --dataset toy --out {tmp_path / 'none'} {words}"
        train_command.run(parser.parse_args(given.split()))
        return capsys.readouterr().out.splitlines()

    said = [command(f"--start {start} --fit-box 16") for start in (file, checkpoint)]
    assert said[0][0] == said[1][0], "what was assumed, whatever the run starts with"
    assert (said[0][1].split(",")[0], said[1][1].split(",")[0]) == ("toy.onnx", "last.pt")
    assert said[0][2:] == said[1][2:]
    assert said[0][-2].startswith("the row loses what CROWN does with --set box=0.")
    assert said[0][-1].endswith("% of 20 images set aside: a guess, rather high, at what CROWN proves")
    with pytest.raises(ParameterError, match="--fit-box: found 99; allowed: 1 to 20"):
        command(f"--start {file} --fit-box 99")
    with pytest.raises(ParameterError, match="--start: found None; allowed: the network that the box is to fit"):
        command("--fit-box")
    assert not (tmp_path / "none").exists()
