"""Losses against the box, loss fusion against auto_LiRPA, snapshots, logs, plans of a run."""

from __future__ import annotations

import copy
import dataclasses
import json

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F
from training_toys import CPU, NORM, TOY, toy_config, toy_images, toy_network

from nbutils.bounds import lirpa
from nbutils.core import ExportError, ImageError, NetworkError, ParameterError, root
from nbutils.images import load_images
from nbutils.networks import architectures
from nbutils.training import CheckpointError, onnx_bytes, read_log, split, train, training_images, training_log
from nbutils.training.crown import CrownBounds
from nbutils.training.data import Loader, Pixels
from nbutils.training.inspection import first_batch, look_at, snapshot
from nbutils.training.interval import IntervalPass, batch_statistics, running_statistics
from nbutils.training.log import LogError
from nbutils.training.losses import Batch, resting, training_loss
from nbutils.training.plan import card_dataset, configure, plan_run
from nbutils.training.probe import compare_fusion, losses_by_box


def batch_of(n=5, eps=0.05, reach=1.0, dtype=torch.float64):
    """Random points of `reach` times the box of half-width `eps`."""
    rng = torch.Generator().manual_seed(3)
    clean = torch.randn(n, *TOY.input_shape, generator=rng, dtype=dtype)
    step = torch.rand(clean.shape, generator=rng, dtype=dtype) * 2 - 1
    return Batch(clean, clean + reach * eps * step, clean - eps, clean + eps, torch.arange(n) % TOY.classes)


# ---- losses against the box


@pytest.mark.parametrize("training", [True, False], ids=["batch-statistics", "running-statistics"])
def test_at_a_box_of_no_size_every_loss_is_the_adversarial_one(toy, training):
    toy.double().train(training)
    found = losses_by_box(toy, batch_of(), 1 / 255, fractions=(1e-9,), crown=CrownBounds(toy, CPU))
    with torch.no_grad(), resting(toy):
        expected = F.cross_entropy(toy(batch_of().adversarial), batch_of().labels).item()
        natural = F.cross_entropy(toy(batch_of().clean), batch_of().labels).item()
    assert found.adversarial == pytest.approx(expected, rel=1e-9)
    assert found.natural == pytest.approx(natural, rel=1e-12)
    for values in found.certified.values():
        assert values[0] == pytest.approx(found.adversarial, rel=1e-6)
    assert found.unstable.max() == pytest.approx(0, abs=0.01)


def test_adversarial_points_outside_the_box_are_pulled_into_it(toy):
    toy.double().eval()
    batch = batch_of(reach=1.5)
    found = losses_by_box(toy, batch, 1 / 255, fractions=(1e-9, 1.0))
    inside = torch.minimum(torch.maximum(batch.adversarial, batch.lower), batch.upper)
    with torch.no_grad():
        expected = F.cross_entropy(toy(inside), batch.labels).item()
    assert found.adversarial == pytest.approx(expected, rel=1e-9)
    assert found.certified["ibp"][0] == pytest.approx(expected, rel=1e-6)


def test_losses_by_box_are_those_of_training(toy):
    toy.double().train()
    batch = batch_of()
    found = losses_by_box(toy, batch, 1 / 255, fractions=(0.25, 1.0), crown=CrownBounds(toy, CPU))
    before = {name: value.clone() for name, value in toy.state_dict().items()}
    for column, fraction in enumerate(found.fractions):
        for name, loss in (("ibp", "sabr"), ("crown-ibp", "crown-ibp")):
            with resting(toy):
                terms = training_loss(toy, batch, loss, weight=1.0, box=float(fraction), crown=CrownBounds(toy, CPU))
            assert found.certified[name][column] == pytest.approx(terms.certified.item(), rel=1e-9)
    assert all(torch.equal(value, before[name]) for name, value in toy.state_dict().items())
    # bounds of a box that holds another cannot be better; CROWN-IBP is below IBP here
    assert found.certified["ibp"][0] < found.certified["ibp"][1]
    assert (found.certified["crown-ibp"] <= found.certified["ibp"] + 1e-9).all()
    # the input's mean width is that of the small box: 2 x 0.05 x fraction
    np.testing.assert_allclose(found.widths[:, 0], [0.025, 0.1], rtol=1e-9)
    assert found.widths.shape == (2, 1 + found.unstable.shape[1])


def test_rows_are_the_first_images_under_the_statistics_of_all(toy):
    toy.double().train()
    batch = batch_of(6)
    found = losses_by_box(toy, batch, 1 / 255, fractions=(0.5,), rows=2)
    with torch.no_grad(), resting(toy), batch_statistics(toy) as seen:
        toy(batch.adversarial)
    lower, upper = batch.small_box(0.5, 2)
    margins = IntervalPass(toy, seen).margins(lower, upper, batch.labels[:2])
    expected = F.cross_entropy(-margins, batch.labels[:2]).item()
    assert found.certified["ibp"][0] == pytest.approx(expected, rel=1e-9)
    assert found.images == 2


@pytest.mark.parametrize("fractions", [(), (0.5, 0.1), (0.0, 1.0), (0.5, 1.5)])
def test_fractions_have_to_ascend(toy, fractions):
    with pytest.raises(ParameterError, match=r"fractions: found .*; allowed: numbers above 0 and up to 1, ascending"):
        losses_by_box(toy, batch_of(dtype=torch.float32), 1 / 255, fractions=fractions)


# ---- loss fusion


class SumOfExponentials(nn.Module):
    """exp of the negative margins of one label, summed: the graph that Xu et al. 2020 bound; the loss is its log.

    `merged`: the margins come out of the last linear layer itself, as ours do; else the label's logit is subtracted
    afterwards, as in the published code, and intervals forget that it is the same number.
    """

    def __init__(self, network, label, *, merged):
        super().__init__()
        self.network, self.label, self.merged = copy.deepcopy(network), label, merged
        if merged:
            last = self.network.head[-1]
            with torch.no_grad():
                last.weight.sub_(last.weight[label].clone())
                last.bias.sub_(last.bias[label].clone())

    def forward(self, x):
        logits = self.network(x)
        if not self.merged:
            logits = logits - logits[:, self.label : self.label + 1]
        return torch.exp(logits).sum(dim=-1, keepdim=True)


def oracle(network, lower, upper, label, *, merged):
    """Upper bounds [N] of the loss by auto_LiRPA, the whole loss but its log in the graph."""
    library = lirpa.library()
    module = SumOfExponentials(network, label, merged=merged).eval()
    bounded = library.BoundedModule(module, lower[:1], bound_opts={"conv_mode": "matrix"}, device="cpu")
    box = library.PerturbationLpNorm(norm=float("inf"), x_L=lower, x_U=upper)
    x = library.BoundedTensor((lower + upper) / 2, box)
    _, bound = bounded.compute_bounds(x=(x,), method="CROWN-IBP", bound_lower=False)
    return bound.flatten().log().detach()


@pytest.mark.parametrize("label", range(3))
@pytest.mark.parametrize("eps", [1e-3, 1e-2, 5e-2, 2e-1])
def test_fused_loss_is_auto_lirpas_bound_of_a_graph_that_contains_the_loss(toy, eps, label):
    toy.eval()
    x = batch_of(4, dtype=torch.float32).clean
    labels = torch.full((4,), label)
    found = CrownBounds(toy, CPU).fused_loss(x - eps, x + eps, labels, running_statistics(toy)).detach()
    torch.testing.assert_close(found, oracle(toy, x - eps, x + eps, label, merged=True), atol=1e-4, rtol=1e-5)
    # the published form loses the correlation of the two logits: never tighter
    assert (oracle(toy, x - eps, x + eps, label, merged=False) >= found - 1e-4).all()


def test_fusion_by_box(toy):
    toy.double().eval()
    found = compare_fusion(toy, batch_of(), 1 / 255, fractions=(1e-6, 0.5, 1.0), turns=2)
    crown, statistics = CrownBounds(toy, CPU), running_statistics(toy)
    for row, fraction in enumerate(found.fractions):
        lower, upper = batch_of().small_box(float(fraction), 5)
        fused = crown.fused_loss(lower, upper, batch_of().labels, statistics).detach()
        np.testing.assert_allclose(found.fused[row], fused, rtol=1e-9)
    np.testing.assert_allclose(found.fused[0], found.plain[0], rtol=1e-4)  # chords of short intervals
    assert (found.fused[2] > found.plain[2]).all()
    assert found.seconds_plain.shape == found.seconds_fused.shape == (2,)
    assert found.ratio > 0
    assert all(parameter.grad is None for parameter in toy.parameters())
    with pytest.raises(ParameterError, match="turns: found 0"):
        compare_fusion(toy, batch_of(), 1 / 255, turns=0)
    with pytest.raises(ParameterError, match="rows: found 0"):
        compare_fusion(toy, batch_of(), 1 / 255, rows=0)


# ---- what is fed, what changes


def test_first_batch_is_the_one_training_takes(toy):
    images, settings = toy_images(), toy_config(attack_eps=1.5, natural_epochs=1, certified_from=1)
    fed = first_batch(settings, toy, images)
    loader = Loader(split(images, 16)[0], settings, CPU)
    pixels, labels = next(loader.epoch(1))  # the first adversarial epoch
    np.testing.assert_array_equal(fed.pixels, pixels)
    np.testing.assert_array_equal(fed.images.labels, labels)
    change = np.abs(fed.points - fed.pixels)
    assert 0 < change.max() <= 1.5 / 255 + 1e-6
    lower, upper = Pixels(NORM, CPU).box(pixels, settings.eps)
    torch.testing.assert_close(fed.batch.lower, lower)
    torch.testing.assert_close(fed.batch.upper, upper)


def test_snapshot_encloses_what_is_seen_in_the_box(toy):
    look, seen = look_at(toy_images(), 16, 3)
    assert (len(look), seen) == (6, 3)
    training, aside = split(toy_images(), 16)
    assert look.ids == training.ids[:3] + aside.ids[:3]
    before = {name: value.clone() for name, value in toy.state_dict().items()}
    shot = snapshot(toy, look, 4 / 255, name="toy")
    assert (shot.bounds.smallest <= shot.attacked + 1e-5).all()
    assert (shot.attacked <= shot.natural).all()
    assert (shot.attacked < shot.natural).any()
    toy.eval()
    with torch.no_grad():
        logits = toy(torch.from_numpy(NORM.to_network(look.pixels))).numpy()
    rest = np.where(np.eye(3, dtype=bool)[look.labels], -np.inf, logits).max(axis=1)
    np.testing.assert_allclose(shot.natural, logits[np.arange(6), look.labels] - rest, atol=1e-5)
    assert all(torch.equal(value, before[name]) for name, value in toy.state_dict().items())
    assert all(parameter.requires_grad for parameter in toy.parameters())
    with pytest.raises(ParameterError, match="images to look at: found 0"):
        look_at(toy_images(), 16, 0)


# ---- logs


def test_a_log_is_read_back_while_the_run_goes_on(tmp_path):
    settings = toy_config(loss="sabr", weight=0.2, ramp_epochs=2)
    batches = []
    train(settings, toy_images(), tmp_path, progress=False, until=2, on_batch=batches.append)
    log = read_log(tmp_path)
    assert log.config == settings
    assert (log.epochs, log.finished) == (2, False)
    rows = [json.loads(line) for line in (tmp_path / "log.jsonl").open()]
    np.testing.assert_allclose(log.loss, [row["loss"] for row in rows])
    np.testing.assert_allclose(log.accuracy, [100 * row["accuracy"] for row in rows])
    np.testing.assert_allclose(log.weight, [0.1, 0.2])
    assert [step.at for step in batches] == pytest.approx([1 / 3, 2 / 3, 1, 4 / 3, 5 / 3, 2])
    assert np.mean([step.loss for step in batches[:3]]) == pytest.approx(log.loss[0], abs=1e-5)
    train(settings, toy_images(), tmp_path, progress=False)
    assert read_log(tmp_path).finished


def test_callbacks_change_nothing(tmp_path):
    settings = toy_config(epochs=1)
    one = train(settings, toy_images(), tmp_path / "a", progress=False)
    two = train(settings, toy_images(), tmp_path / "b", progress=False, on_batch=print, on_epoch=lambda rows: None)
    assert all(torch.equal(a, b) for a, b in zip(one.state_dict().values(), two.state_dict().values(), strict=True))


def test_a_log_that_is_none_is_refused(tmp_path):
    with pytest.raises(LogError, match=r"config.json: found 'no such file'; allowed: the settings of a run"):
        read_log(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps(toy_config().as_dict()))
    with pytest.raises(LogError, match=r"log.jsonl: found 'no such file'; allowed: a run with a finished epoch"):
        read_log(tmp_path)
    (tmp_path / "log.jsonl").write_text('{"loss": 1')
    with pytest.raises(LogError, match=r"found config.json or log.jsonl damaged \(JSONDecodeError\)"):
        read_log(tmp_path)
    assert training_log(toy_config(), []).epochs == 0


# ---- plans


@pytest.mark.parametrize(
    ("name", "settings", "own", "message"),
    [
        ("best", {}, {}, "^RECIPE: found 'best'; allowed: adversarial, ibp"),
        ("sabr", {}, {"epochs": 0}, "^EPOCHS: found 0; allowed: a whole number from 1"),
        ("sabr", {}, {"network": "resnet18"}, "^NETWORK: found 'resnet18'"),
        ("sabr", {}, {"batch_size": 1}, "^BATCH_SIZE: found 1"),
        ("sabr", {"seed": 3}, {"seed": 0}, r"^SETTINGS: found \['seed'\]; .* Set SEED"),
        ("sabr", {"start": "0"}, {}, r"^SETTINGS: found \['start'\]; .* Set START"),
        ("sabr", {"epoch": 3}, {}, "^SETTINGS, recipe setting: found 'epoch'; allowed: network, seed"),
        ("sabr", {"lr": "fast"}, {}, "^SETTINGS, lr: found 'fast'; allowed: a number"),
        ("sabr", {"bfloat16": 1}, {}, "^SETTINGS, bfloat16: found 1; allowed: true or false"),
        ("sabr", {"loss": ["ibp"]}, {}, r"^SETTINGS, loss: found \['ibp'\]; allowed: a text"),
        ("sabr", {"weight": 2.0}, {}, "^SETTINGS, weight: found 2.0; allowed: a number from 0 to 1"),
        ("sabr", [1], {}, r"^SETTINGS: found \[1\]; allowed: a dict"),
    ],
)
def test_wrong_settings_are_refused_by_name(name, settings, own, message):
    with pytest.raises(ParameterError, match=message):
        configure(name, settings, **own)


def test_settings_change_the_recipe():
    found = configure("sabr", {"lr": 1, "ramp_epochs": 3, "certified_from": 2}, epochs=7, network="toy")
    assert (found.loss, found.lr, found.ramp_epochs, found.epochs) == ("sabr", 1, 3, 7)


def test_images_to_train_on():
    assert len(training_images("embedded")) == 20
    with pytest.raises(ParameterError, match="IMAGES: found 'properties'; allowed: embedded, cifar100"):
        training_images("properties")
    assert card_dataset("embedded", None) == "cifar100"
    assert card_dataset("npz", "tinyimagenet") == "tinyimagenet"
    assert card_dataset("npz", None) is None


def test_a_plan_names_its_folder_after_settings_images_and_weights(tmp_path):
    images = toy_images()
    start = tmp_path / "toy.onnx"
    start.write_bytes(onnx_bytes(toy_network()))
    plans = [
        plan_run(toy_config(), images),
        plan_run(toy_config(seed=1), images),
        plan_run(toy_config(), images.take(range(40))),
        plan_run(toy_config(), images, start=start),
    ]
    assert len({plan.folder for plan in plans}) == 4
    assert plan_run(toy_config(), toy_images()).folder == plans[0].folder
    assert plans[0].folder.parent == root() / "runs" / "train"
    assert plans[0].target == plans[0].folder / "onnx" / "toy.onnx"
    assert not any(plan.folder.exists() for plan in plans)
    assert "new" in plans[0].describe()


def test_a_plan_runs_exports_and_goes_on(tmp_path):
    plan = plan_run(toy_config(epochs=2), toy_images(), folder=tmp_path / "run")
    network = plan.train()
    assert plan.log().finished
    path = plan.export("toy data", "a test")
    assert path == tmp_path / "run/onnx/toy.onnx"
    card = json.loads(path.with_suffix(".json").read_text())
    assert card["recipe"].startswith(
        "a test with network=toy epochs=2 batch_size=16 validation=16 ema=0.9 on 64 images"
    )
    assert "CUDA" not in card["recipe"]
    dataclasses.replace(plan, device=torch.device("cuda")).export("toy data", "a test")
    assert "of toy images, on CUDA; 2 of 2 epochs" in json.loads(path.with_suffix(".json").read_text())["recipe"]
    again = plan_run(toy_config(epochs=2), toy_images(), folder=tmp_path / "run")
    assert "2 of 2 epochs done" in again.describe()
    assert torch.equal(again.train().head[1].weight, network.head[1].weight)
    with pytest.raises(CheckpointError, match="settings: found .*lr.*Use a new output folder"):
        plan_run(toy_config(epochs=2, lr=0.1), toy_images(), folder=tmp_path / "run")


def test_a_plan_refuses_what_would_fail_later(tmp_path, monkeypatch):
    images = toy_images()
    with pytest.raises(ParameterError, match="device: found 'tpu'"):
        plan_run(toy_config(), images, device="tpu")
    with pytest.raises(ParameterError, match=r"image shape: found \(3, 32, 32\); allowed: \(3, 8, 8\)"):
        plan_run(toy_config(), load_images("embedded"))
    with pytest.raises(ParameterError, match="validation: found 64; allowed: 0 to 63"):
        plan_run(toy_config(validation=64), images)
    with pytest.raises(ImageError, match="batch_size: found 50; allowed: at most 48"):
        plan_run(toy_config(batch_size=50), images)
    with pytest.raises(ParameterError, match=r"START: found .*nothing.onnx'; allowed: None, a checkpoint or an ONNX"):
        plan_run(toy_config(), images, start=tmp_path / "nothing.onnx")
    (tmp_path / "text.onnx").write_text("none")
    with pytest.raises(NetworkError, match="no ONNX model"):
        plan_run(toy_config(), images, start=tmp_path / "text.onnx")
    with pytest.raises(ExportError, match="cannot be written"):
        plan_run(toy_config(), images, folder=tmp_path / "text.onnx" / "run")
    small = dataclasses.replace(TOY, name="CIFAR100_resnet_small")
    monkeypatch.setitem(architectures.ARCHITECTURES, "CIFAR100_resnet_small", small)
    with pytest.raises(
        ExportError, match=r"EXPORT_DIR: found .*onnx'; allowed: a folder without a CIFAR100_resnet_small"
    ):
        plan_run(toy_config(network="CIFAR100_resnet_small"), images, export=root() / "onnx")
