"""Training: losses against finite differences and auto_LiRPA, keyed randomness, checkpoints, ONNX out."""

from __future__ import annotations

import argparse
import dataclasses
import errno
import json
import resource
import subprocess
import sys

import numpy as np
import onnx
import pytest
import torch
from torch import nn
from torch.nn import functional as F
from training_toys import CPU, NORM, OTHER, TOY, batch_of, same_weights, toy_images, toy_network
from training_toys import toy_config as config

from nbutils.bounds import margin_bounds
from nbutils.commands import train as train_command
from nbutils.core import BoundsConfig, Box, ExportError, ImageError, ImageSet, NetworkError, ParameterError
from nbutils.networks import ResNet, architectures, open_network
from nbutils.training import (
    LOSSES,
    RECIPES,
    CheckpointError,
    TrainingError,
    account,
    checkpoint,
    export_onnx,
    load_network,
    loop,
    measure_losses,
    onnx_bytes,
    recipe,
    split,
    train,
    training_images,
    validation,
    weights,
)
from nbutils.training.crown import CrownBounds
from nbutils.training.data import PAD, Loader, Pixels, augment, check_images, without_tested
from nbutils.training.interval import IntervalPass, batch_statistics, running_statistics
from nbutils.training.log import LogError
from nbutils.training.losses import certified_init, perturb, resting, shi_regularizer, training_loss
from nbutils.training.onnx_export import own_initializers
from nbutils.training.plan import plan_run


@pytest.fixture(autouse=True)
def _toy_architectures(monkeypatch):
    for architecture in (TOY, OTHER):
        monkeypatch.setitem(architectures.ARCHITECTURES, architecture.name, architecture)


@pytest.fixture
def toy():
    return toy_network()


@pytest.fixture(scope="module")
def images():
    return toy_images()


# ---- bounds


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


# ---- data


def test_validation_images_are_fixed_by_their_pixels(images):
    training, validation = split(images, 10)
    shuffled = images.take(np.random.default_rng(1).permutation(len(images)))
    again = split(shuffled, 10)
    assert len(training) == 54
    assert set(again[1].ids) == set(validation.ids)
    assert not set(training.ids) & set(validation.ids)
    assert max(validation.ids) < min(training.ids)


def test_crops_are_windows_of_the_padded_image():
    rng = np.random.default_rng(0)
    padded = torch.from_numpy(rng.integers(0, 256, (6, 3, 8 + 2 * PAD, 8 + 2 * PAD), dtype=np.uint8))
    found = augment(padded, 8, "crop-flip", np.random.default_rng(5))
    assert found.shape == (6, 3, 8, 8)
    for image, source in zip(found, padded, strict=True):
        windows = source.unfold(1, 8, 1).unfold(2, 8, 1).permute(1, 2, 0, 3, 4).reshape(-1, 3, 8, 8)
        assert any(torch.equal(w, image) or torch.equal(w.flip(-1), image) for w in windows)
    assert torch.equal(found, augment(padded, 8, "crop-flip", np.random.default_rng(5)))
    assert not torch.equal(found, augment(padded, 8, "crop-flip", np.random.default_rng(6)))
    cut = augment(padded, 8, "crop-flip-cutout", np.random.default_rng(5))
    assert 0 < (cut != found).float().mean() < 1
    assert torch.equal(augment(padded, 8, "none", rng), padded[:, :, PAD:-PAD, PAD:-PAD])


def bordered(count=64):
    """Toy images with a border of 2 stored pixels on each side, and the same without it."""
    rng = np.random.default_rng(7)
    levels = rng.integers(0, 256, (count, 3, 12, 12), dtype=np.uint8)
    labels = rng.integers(0, 3, count)
    both = [ImageSet(part, labels, np.arange(count), "toy", ("a", "b", "c"), NORM) for part in
            (levels, np.ascontiguousarray(levels[..., 2:-2, 2:-2]))]  # fmt: skip
    return both


def test_crops_move_into_the_pixels_that_the_source_stores(toy):
    stored, _ = bordered()
    windows = torch.from_numpy(stored.levels).unfold(2, 8, 1).unfold(3, 8, 1)  # [N, C, 5, 5, 8, 8]
    assert windows.shape[2:4] == (5, 5)
    loader, seen = Loader(stored, config(augment="crop-flip"), CPU), set()
    for epoch in range(4):
        order = loader.order(epoch)
        for number, (pixels, _) in enumerate(loader.epoch(epoch)):
            for row, image in zip(order[number * 16 :][:16], (pixels * 255).round().to(torch.uint8), strict=True):
                same = [(windows[row, :, y, x] == picture).all() for picture in (image, image.flip(-1))
                        for y in range(5) for x in range(5)]  # fmt: skip
                assert sum(map(int, same)) >= 1
                seen.add(int(torch.stack(same).int().argmax()) % 25)
    assert {0, 4, 20, 24} <= seen  # the corners, which no reflection would give


def test_images_are_set_aside_by_the_part_that_the_network_sees():
    stored, plain = bordered()
    kept, aside = split(stored, 10, 8)
    assert (kept.levels.shape[-1], aside.levels.shape[-1]) == (12, 8)
    assert aside.ids == split(plain, 10)[1].ids
    check_images(config(), stored)
    with pytest.raises(ParameterError, match=r"image shape: found \(3, 14, 14\); allowed: \(3, 8, 8\)"):
        check_images(config(), dataclasses.replace(stored, levels=np.zeros((64, 3, 14, 14), np.uint8)))


def test_a_training_image_that_is_a_test_image_is_left_out_and_said():
    stored, plain = bordered()
    tests = dataclasses.replace(plain.take([5, 40]), labels=np.array([0, 1]))  # the label does not matter
    rest = without_tested(stored, tests)
    assert rest.indices.tolist() == [n for n in range(64) if n not in (5, 40)]
    assert rest.origin.notes == ("left out 2 that equal one of the 2 test images in every pixel",)
    changed = dataclasses.replace(tests, levels=tests.levels ^ np.uint8(1))
    assert without_tested(stored, changed).origin.notes == ("none equals one of the 2 test images",)
    said = account("here", config(), [{"seconds": 1}], notes=rest.origin.notes)
    assert said.endswith("; training images: left out 2 that equal one of the 2 test images in every pixel")


def test_training_images_are_compared_with_the_test_images_given(tmp_path):
    rng = np.random.default_rng(1)
    levels, labels = rng.integers(0, 256, (6, 8, 8, 3), dtype=np.uint8), np.arange(6) % 3
    np.savez(tmp_path / "train.npz", images=levels, labels=labels, names=np.array(["a", "b", "c"]))
    np.savez(tmp_path / "test.npz", images=levels[[4]], labels=labels[[4]], names=np.array(["a", "b", "c"]))
    found = training_images("npz", path=tmp_path / "train.npz", normalization=NORM, tests=tmp_path / "test.npz")
    assert found.indices.tolist() == [0, 1, 2, 3, 5]
    assert len(training_images("npz", path=tmp_path / "train.npz", normalization=NORM)) == 6
    with pytest.raises(ParameterError, match="test images: found 'x'; allowed: nothing, as cifar100 has a test split"):
        training_images("cifar100", tests="x")


def test_epochs_are_keyed_by_seed_and_number(images):
    def labels(seed, epoch):
        loader = Loader(images, config(seed=seed), CPU)
        assert loader.batches == 4
        return torch.cat([labels for _, labels in loader.epoch(epoch)])

    assert torch.equal(labels(0, 1), labels(0, 1))
    assert not torch.equal(labels(0, 1), labels(0, 2))
    assert not torch.equal(labels(0, 1), labels(1, 1))


def test_pixel_box_is_the_one_of_records(images):
    box = Box.around(images.pixels, NORM, 3 / 255)
    lower, upper = Pixels(NORM, CPU).box(torch.from_numpy(images.pixels), 3 / 255)
    np.testing.assert_allclose(lower, box.lower, atol=1e-6)
    np.testing.assert_allclose(upper, box.upper, atol=1e-6)


# ---- runs


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_an_epoch_on_cuda_gives_nearly_the_weights_of_the_cpu(images, tmp_path):
    settings = config(epochs=1, loss="sabr", weight=0.1, bound_share=0.5, lr=0.01)
    there, here = (train(settings, images, tmp_path / d, device=d, progress=False) for d in ("cuda", "cpu"))
    for name, value in here.state_dict().items():
        torch.testing.assert_close(there.state_dict()[name], value, rtol=1e-2, atol=1e-3)


def test_two_runs_and_a_killed_and_resumed_run_give_the_same_weights(images, tmp_path, monkeypatch):
    settings = config(
        loss="sabr", weight=0.2, ramp_epochs=1.5, natural_epochs=1, certified_from=1, augment="crop-flip-cutout"
    )
    whole = train(settings, images, tmp_path / "whole", progress=False)
    assert same_weights(whole, train(settings, images, tmp_path / "again", progress=False))

    descend, calls = loop.Trainer._descend, []

    def killed(self, loss, number):
        calls.append(number)
        if len(calls) == 5:  # in the second epoch
            raise KeyboardInterrupt
        descend(self, loss, number)

    monkeypatch.setattr(loop.Trainer, "_descend", killed)
    with pytest.raises(KeyboardInterrupt):
        train(settings, images, tmp_path / "killed", progress=False)
    monkeypatch.undo()
    monkeypatch.setitem(architectures.ARCHITECTURES, "toy", TOY)
    assert len((tmp_path / "killed/log.jsonl").read_text().splitlines()) == 1
    resumed = train(settings, images, tmp_path / "killed", progress=False)
    assert same_weights(whole, resumed)
    logs = [[json.loads(line) for line in (tmp_path / f / "log.jsonl").open()] for f in ("whole", "killed")]
    timeless = [[{k: v for k, v in row.items() if "seconds" not in k} for row in log] for log in logs]
    assert timeless[0] == timeless[1]
    other = train(dataclasses.replace(settings, seed=1), images, tmp_path / "seed", progress=False)
    assert not same_weights(whole, other)


def test_a_run_goes_on_with_its_own_images_only(images, tmp_path):
    train(config(epochs=2), images, tmp_path, progress=False, until=1)
    turned = images.take(range(len(images) - 1, -1, -1))
    for others in (images.take(range(len(images) - 1)), turned):
        before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
        with pytest.raises(CheckpointError, match=r"last.pt: images: found .*not those of the run'; .*new output"):
            train(config(epochs=2), others, tmp_path, progress=False)
        with pytest.raises(CheckpointError, match=r"last.pt: images"):
            plan_run(config(epochs=2), others, folder=tmp_path)
        assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before
    train(config(epochs=2), images, tmp_path, progress=False)
    assert len(load_network(tmp_path / "last.pt")[2]) == 2


def test_one_process_at_a_time_trains_in_a_folder(images, tmp_path):
    """Another process holds the folder; when it is killed, the next run goes on without any cleaning up."""
    holder = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import sys, time; from pathlib import Path; from nbutils.training.folder import held\n"
            "with held(Path(sys.argv[1])): print('held', flush=True); time.sleep(600)",
            str(tmp_path / "run"),
        ],
        stdout=subprocess.PIPE,
    )
    try:
        assert holder.stdout.readline() == b"held\n"
        with pytest.raises(TrainingError, match="run: found another process that trains there; allowed: one at a time"):
            train(config(epochs=1), images, tmp_path / "run", progress=False)
        assert not (tmp_path / "run/last.pt").exists()
    finally:
        holder.kill()
        holder.wait()
    train(config(epochs=1), images, tmp_path / "run", progress=False)
    assert (tmp_path / "run/last.pt").exists()


@pytest.mark.parametrize("loss", ["none", "crown-ibp", "crown-ibp-fused", "exp-ibp"])
def test_training_learns(images, loss, tmp_path):
    train(config(epochs=8, loss=loss, weight=0.2, ramp_epochs=2, box=0.1, lr=0.1), images, tmp_path, progress=False)
    settings, network, history = load_network(tmp_path / "last.pt")
    assert settings.loss == loss
    assert len(history) == 8
    assert history[-1]["validation_pgd"] > 60  # three classes: 33 by chance
    assert history[-1]["loss"] < history[0]["loss"] + 1
    assert not network.training


def test_second_stage_begins_with_the_averaged_weights_of_the_first(images, tmp_path):
    first = train(config(), images, tmp_path / "first", progress=False)
    start = tmp_path / "first/last.pt"
    second = config(loss="sabr", lr=0.0, ema=0.0, epochs=1)
    train(second, images, tmp_path / "second", start=start, progress=False)
    made_with, network, _ = load_network(tmp_path / "second/last.pt")
    assert torch.equal(network.head[1].weight, first.head[1].weight)  # lr 0: the weights stay
    assert len(made_with.start) == 64
    with pytest.raises(CheckpointError, match=r"settings: found .*start.*Use a new output folder"):
        train(second, images, tmp_path / "second", progress=False)
    with pytest.raises(CheckpointError, match="found 'a checkpoint of toy'; allowed: other"):
        train(config(network="other"), images, tmp_path / "third", start=start, progress=False)


def test_an_account_tells_every_stage(images, tmp_path):
    train(config(epochs=1), images, tmp_path / "a", progress=False)
    train(config(epochs=1, lr=0.02), images, tmp_path / "b", start=tmp_path / "a/last.pt", progress=False)
    made_with, _, history = load_network(tmp_path / "b/last.pt")
    assert account("here", made_with, history).startswith("here; 1 of 1 epochs, 0.0 h, seed 0, settings ")
    train(config(epochs=1, lr=0.01), images, tmp_path / "c", start=tmp_path / "b/last.pt", progress=False)
    made_with, _, history = load_network(tmp_path / "c/last.pt")
    last, middle, first = account("here", made_with, history, tmp_path / "b/last.pt").split("begins with the averaged ")
    assert last.startswith("here; 1 of 1 epochs")
    assert "lr=0.02" in middle
    assert middle.endswith("; which ")
    assert "lr=0.02" not in first


def test_callback_and_until(images, tmp_path):
    seen = []
    train(config(), images, tmp_path, progress=False, until=2, on_epoch=lambda rows: seen.append(len(rows)))
    assert seen == [1, 2]
    assert (tmp_path / "best.pt").exists()


# ---- checkpoints and other refusals


@pytest.fixture
def finished(images, tmp_path):
    train(config(epochs=1), images, tmp_path, progress=False)
    return tmp_path


def test_checkpoint_of_another_recipe_or_network_is_refused(images, finished):
    before = (finished / "last.pt").read_bytes()
    with pytest.raises(CheckpointError, match=r"last.pt: settings: found \"\{'lr': 0.05\}\"|found \{'lr': 0.05\}"):
        train(config(epochs=1, lr=0.1), images, finished, progress=False)
    with pytest.raises(CheckpointError, match="found 'a checkpoint of toy'; allowed: other"):
        train(config(epochs=1, network="other"), images, finished, progress=False)
    assert (finished / "last.pt").read_bytes() == before


def test_damaged_checkpoints_are_refused(images, finished):
    path = finished / "last.pt"
    data = path.read_bytes()
    content = torch.load(path, weights_only=True)
    flipped = bytearray(data)
    flipped[data.index(content["state"]["network"]["head.1.bias"].numpy().tobytes())] ^= 255
    content["state"]["network"]["head.1.bias"][0] += 1
    torch.save(content, finished / "edited.pt")
    for damaged in (
        b"",
        b"no checkpoint",
        data[: len(data) // 2],
        bytes(flipped),
        (finished / "edited.pt").read_bytes(),
    ):
        path.write_bytes(damaged)
        with pytest.raises(CheckpointError, match=r"last.pt: found .*Delete it to start over"):
            train(config(epochs=1), images, finished, progress=False)
        assert path.read_bytes() == damaged
    with pytest.raises(CheckpointError, match=r"nothing.pt: found 'no such file'"):
        load_network(finished / "nothing.pt")


def test_a_pickle_is_never_run(tmp_path):
    class Evil:
        def __reduce__(self):
            return (print, ("run",))

    torch.save({"config": Evil()}, tmp_path / "evil.pt")
    with pytest.raises(CheckpointError, match="damaged file or none of ours"):
        load_network(tmp_path / "evil.pt")


def test_full_disk_keeps_what_was_there(finished, monkeypatch):
    path = finished / "last.pt"
    before = path.read_bytes()
    settings, state = checkpoint.load(path)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, limits[1]))  # the system cuts writing off in the middle
    try:
        with pytest.raises(ExportError, match=r"last.pt: could not be written, .* what was there before is intact"):
            checkpoint.save(path, settings, state)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(checkpoint.torch, "save", full)
    with pytest.raises(ExportError, match="no space left on the disk"):
        checkpoint.save(path, settings, state)
    assert path.read_bytes() == before
    assert sorted(p.name for p in finished.iterdir()) == [".lock", "best.pt", "config.json", "last.pt", "log.jsonl"]


def test_unwritable_folder(images, tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(ExportError, match="file: cannot be written"):
        train(config(epochs=1), images, tmp_path / "file", progress=False)


def test_loss_that_is_no_number_stops_the_run(images, tmp_path, monkeypatch):
    train(config(), images, tmp_path, progress=False, until=1)
    before = (tmp_path / "last.pt").read_bytes()
    loss = loop.training_loss

    def broken(*args, **options):
        terms = loss(*args, **options)
        return dataclasses.replace(terms, total=terms.total * float("nan"))

    monkeypatch.setattr(loop, "training_loss", broken)
    with pytest.raises(TrainingError, match=r"loss in epoch 2, batch 0: found nan; .* Lower lr, weight or box"):
        train(config(), images, tmp_path, progress=False)
    assert (tmp_path / "last.pt").read_bytes() == before


def test_images_that_do_not_fit_the_network(images, tmp_path):
    few = images.take(range(20))
    with pytest.raises(ImageError, match="batch_size: found 16; allowed: at most 4"):
        train(config(), few, tmp_path, progress=False)
    with pytest.raises(ParameterError, match="validation: found 64; allowed: 0 to 63"):
        train(config(validation=64), images, tmp_path, progress=False)
    with pytest.raises(ParameterError, match=r"image shape: found \(3, 8, 8\); allowed: \(3, 32, 32\)"):
        train(config(network="CIFAR100_resnet_small"), images, tmp_path, progress=False)
    two = ImageSet(images.levels, images.labels % 2, images.indices, "two", ("a", "b"), NORM)
    with pytest.raises(ParameterError, match="number of classes: found 2; allowed: 3"):
        train(config(), two, tmp_path, progress=False)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"network": "resnet18"}, "network: found 'resnet18'"),
        ({"loss": "trades"}, "loss: found 'trades'; allowed: none, ibp, crown-ibp"),
        ({"augment": "mixup"}, "augment: found 'mixup'"),
        ({"init": "zero"}, "init: found 'zero'"),
        ({"eps": 2}, "eps: found 2; .* write 2/255, not 2"),
        ({"epochs": 0}, "epochs: found 0; allowed: a whole number from 1"),
        ({"epochs": 2.5}, "epochs: found 2.5; allowed: a whole number"),
        ({"weight": 1.5}, "weight: found 1.5; allowed: a number from 0 to 1"),
        ({"natural_epochs": 9}, "natural_epochs: found 9; allowed: at most 3"),
    ],
)
def test_settings_outside_what_is_allowed(changes, message):
    with pytest.raises(ParameterError, match=message):
        config(**changes)


def test_recipes():
    for name in RECIPES:
        assert recipe(name, epochs=50).epochs == 50
    with pytest.raises(ParameterError, match="recipe: found 'best'; allowed: adversarial, ibp"):
        recipe("best")
    with pytest.raises(ParameterError, match="recipe setting: found 'epoch'"):
        recipe("sabr", epoch=3)
    # a run that ends before its certified loss begins is a mistake, not a short run
    with pytest.raises(ParameterError, match="certified_from: found 24; allowed: below 20, the epochs of the run"):
        recipe("sabr", epochs=20)
    assert recipe("sabr", epochs=20, certified_from=5).settled == 7


def test_schedule_of_the_certified_loss():
    settings = config(epochs=10, loss="sabr", certified_from=2, ramp_epochs=4, weight=0.2, box=0.16, box_start=0.01)
    assert settings.certified_at(1.9)[0] == 0
    weight, box, done = settings.certified_at(4)
    assert (weight, done) == (pytest.approx(0.1), 0.5)
    assert box == pytest.approx(0.04)  # geometric middle of 0.01 and 0.16
    assert settings.certified_at(9) == (pytest.approx(0.2), pytest.approx(0.16), 1.0)
    assert settings.settled == 6


# ---- ONNX


@pytest.mark.parametrize(
    ("name", "megabytes"),
    [
        ("CIFAR100_resnet_small", 5.4),
        ("CIFAR100_resnet_medium", 10.1),
        ("CIFAR100_resnet_large", 15.2),
        ("CIFAR100_resnet_super", 31.6),
        ("TinyImageNet_resnet_medium", 14.4),
    ],
)
def test_exported_file_is_like_the_published_one(name, megabytes):
    network = architectures.build(name)
    data = onnx_bytes(network)
    model = onnx.load_from_string(data)
    ops = {node.op_type for node in model.graph.node}
    assert ops == {"Conv", "BatchNormalization", "Relu", "Add", "Flatten", "Gemm"}
    assert model.opset_import[0].version == 13
    assert model.graph.input[0].type.tensor_type.shape.dim[0].dim_param
    assert sum(np.prod(t.dims) for t in model.graph.initializer) == architectures.parameter_count(network)
    assert len(data) / 2**20 == pytest.approx(megabytes, rel=0.06)  # the published table rounds MB in its own way


def test_card_and_parity(toy, tmp_path):
    path = export_onnx(toy, tmp_path / "toy.onnx", dataset="cifar100", normalization=NORM, recipe="toy run")
    network = open_network(path, device="cpu")
    assert network.card.recipe == "toy run"
    assert network.normalization == NORM
    assert network.card.parameters == architectures.parameter_count(toy)
    x = np.random.default_rng(0).normal(size=(4, 3, 8, 8)).astype(np.float32)
    with torch.no_grad():
        np.testing.assert_allclose(network.judge(x), toy.eval()(torch.from_numpy(x)).numpy(), atol=1e-5)


def test_export_refuses_weights_that_are_no_numbers(toy, tmp_path):
    toy.head[1].bias.data[0] = float("nan")
    with pytest.raises(NetworkError, match="toy: found 'NaN or infinite weights'"):
        export_onnx(toy, tmp_path / "toy.onnx")
    assert not list(tmp_path.iterdir())


def test_shared_initialisers_are_copied():
    from onnx import TensorProto, helper, numpy_helper

    value = numpy_helper.from_array(np.ones(2, np.float32), "a")
    nodes = [helper.make_node("Identity", ["a"], ["b"]), helper.make_node("Add", ["a", "b"], ["y"])]
    out = helper.make_tensor_value_info("y", TensorProto.FLOAT, [2])
    model = own_initializers(helper.make_model(helper.make_graph(nodes, "g", [], [out], [value])))
    assert [node.op_type for node in model.graph.node] == ["Add"]
    assert [tensor.name for tensor in model.graph.initializer] == ["a", "b"]


# ---- command


def arguments(*words):
    parser = argparse.ArgumentParser()
    train_command.add_arguments(parser)
    return parser.parse_args([str(word) for word in words])


def test_command_trains_exports_and_resumes(images, tmp_path, capsys, monkeypatch):
    from nbutils.images import DATASETS

    cifar = DATASETS["cifar100"]
    np.savez(tmp_path / "toy.npz", images=images.levels, labels=images.labels, class_names=images.class_names)
    monkeypatch.setitem(
        DATASETS,
        "toy",
        dataclasses.replace(cifar, name="toy", classes=3, stored=8, side=8, class_names=images.class_names),
    )
    words = ["toy", "--recipe", "adversarial", "--path", tmp_path / "toy.npz", "--out", tmp_path / "run", "--quiet"]
    for setting in ("epochs=2", "batch_size=16", "validation=16", "bfloat16=false"):
        words += ["--set", setting]
    words += ["--dataset", "toy", "--device", "cpu"]
    train_command.run(arguments(*words, "--until", 1))
    train_command.run(arguments(*words, "--export", tmp_path / "onnx"))
    network = open_network(tmp_path / "onnx/toy.onnx", device="cpu")
    assert "--recipe adversarial --set epochs=2" in network.card.recipe
    said = capsys.readouterr().out
    assert '"epoch": 1' in said
    assert said.startswith(
        f"toy on {len(images) - 16} images of npz/toy.npz, in the order of the archive, 16 set aside; "
    )
    assert "std 0.2673 0.2564 0.2761, usual for toy; radius 1/255 (recipe adversarial)" in said
    with pytest.raises(
        CheckpointError, match=r"normalisation of the images: found \[\[0.0, .*the data set's usual one"
    ):
        train_command.run(arguments(*words, "--pixels"))  # a run has one normalisation
    words[words.index(tmp_path / "run")] = tmp_path / "second"
    train_command.run(arguments(*words, "--start", tmp_path / "run/last.pt", "--export", tmp_path / "onnx"))
    assert (
        "begins with the averaged weights of a run with network=toy"
        in open_network(tmp_path / "onnx/toy.onnx", device="cpu").card.recipe
    )

    second = open_network(tmp_path / "onnx/toy.onnx", device="cpu").path
    words[words.index(tmp_path / "second")] = tmp_path / "third"
    train_command.run(arguments(*words, "--start", second, "--export", tmp_path / "third/onnx"))
    card = open_network(tmp_path / "third/onnx/toy.onnx", device="cpu").card
    assert "; begins with the weights of toy.onnx, sha256 " in card.recipe
    train_command.run(arguments(*words, "--curves", tmp_path / "curves.png"))
    assert (tmp_path / "curves.png").read_bytes().startswith(b"\x89PNG")
    assert "2 of 2 epochs" in capsys.readouterr().out


def test_command_on_the_card_names_a_gpu(monkeypatch):
    words = arguments("toy", "--recipe", "sabr", "--set", "lr=0.1", "--device", "cpu")
    assert train_command.command_line(words) == "python -m nbutils train toy --recipe sabr --set lr=0.1"
    monkeypatch.setattr(weights, "pick_device", lambda name: torch.device("cuda"))
    assert train_command.command_line(words).endswith(" --set lr=0.1 --device cuda")


def test_command_draws_no_curves_of_no_run(tmp_path):
    with pytest.raises(ParameterError, match=r"--curves: found .*curves.pdf'; allowed: a file name ending in .png"):
        train_command.run(arguments("toy", "--out", tmp_path, "--curves", tmp_path / "curves.pdf"))
    with pytest.raises(LogError, match=r"config.json: found 'no such file'"):
        train_command.run(arguments("toy", "--out", tmp_path, "--curves", tmp_path / "curves.png"))
    assert not list(tmp_path.iterdir())


def test_command_refuses_unknown_settings():
    with pytest.raises(
        ParameterError, match=r"--set: found 'epoch=3'; allowed: NAME=VALUE with a NAME of network, seed"
    ):
        train_command.parse_changes(["epoch=3"])
    with pytest.raises(ParameterError, match=r"--set epochs: found 'many'; allowed: a whole number"):
        train_command.parse_changes(["epochs=many"])
    with pytest.raises(ParameterError, match=r"--set bfloat16: found '1'; allowed: true or false"):
        train_command.parse_changes(["bfloat16=1"])
    assert train_command.parse_changes(["lr=0.1", "loss=sabr"]) == {"lr": 0.1, "loss": "sabr"}


def test_costs_name_every_loss_and_price_the_raw_pass_at_one(capsys):
    costs = {(cost.name, cost.images): cost for cost in measure_losses("toy", images=8, crown_images=2, turns=1)}
    assert {name for name, _ in costs} == {"raw pass", "adversary, 1 step", *LOSSES}
    assert costs["raw pass", 8].ratio == costs["raw pass", 2].ratio == 1.0
    assert all(cost.milliseconds > 0 for cost in costs.values())
    train_command.run(arguments("toy", "--costs", "--device", "cpu"))
    assert "crown-ibp-fused, 4 images" in capsys.readouterr().out
    with pytest.raises(ParameterError, match="images: found 1; allowed: 2 or more"):
        measure_losses("toy", images=1)
