"""Soft labels: what they are, what the loss makes of them, that a run with them repeats, and what is refused."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import onnxruntime
import pytest
import torch
from torch.nn import functional as F
from training_toys import CPU, NORM, OTHER, TOY, same_weights, toy_network
from training_toys import toy_config as config

from nbutils.core import NetworkError, ParameterError, stream
from nbutils.networks.architectures import Architecture
from nbutils.training import CheckpointError, TrainConfig, account, export_onnx, load_network, recipe, split, train
from nbutils.training.batches import adversarial_batch
from nbutils.training.data import Loader, Pixels
from nbutils.training.losses import training_loss
from nbutils.training.plan import plan_run
from nbutils.training.teachers import NAME, blend, open_teachers, soft_labels


def soft_run():
    """Two epochs, three fifths of each label from the teachers."""
    return config(epochs=2, soft_labels=0.6, bfloat16=False)


@pytest.fixture(scope="module")
def teachers(tmp_path_factory):
    """Two classifiers of three classes, of two architectures."""
    folder = tmp_path_factory.mktemp("teachers")
    return [
        export_onnx(toy_network(kind, seed).eval(), folder / f"{kind.name}.onnx", normalization=NORM)
        for seed, kind in enumerate((TOY, OTHER))
    ]


def test_soft_labels_are_the_mean_of_what_onnxruntime_gives(images, teachers, tmp_path):
    settings, networks = open_teachers(soft_run(), teachers, "cpu")
    found = soft_labels(settings, networks, images, tmp_path, quiet=True)
    expected = np.zeros((len(images), 3))
    for path in teachers:
        session = onnxruntime.InferenceSession(path.read_bytes())
        for view in (images.levels, images.levels[:, :, :, ::-1]):
            mean, std = (np.array(values, np.float32)[:, None, None] for values in (NORM.mean, NORM.std))
            x = (np.ascontiguousarray(view).astype(np.float32) / 255 - mean) / std
            logits = session.run(None, {session.get_inputs()[0].name: x})[0].astype(np.float64)
            powers = np.exp(logits - logits.max(1, keepdims=True))
            expected += powers / powers.sum(1, keepdims=True) / 4
    np.testing.assert_allclose(found.numpy(), expected, atol=1e-5)
    np.testing.assert_allclose(found.sum(1).numpy(), 1, atol=1e-5)


def test_blend_by_hand():
    soft = torch.tensor([[0.5, 0.25, 0.25], [0.0, 0.0, 1.0]])
    found = blend(soft, torch.tensor([0, 1]), 0.8)
    torch.testing.assert_close(found, torch.tensor([[0.6, 0.2, 0.2], [0.0, 0.2, 0.8]]))
    torch.testing.assert_close(blend(soft, torch.tensor([0, 1]), 0.0), torch.eye(3)[:2])


def test_only_the_ordinary_cross_entropy_takes_soft_labels(images):
    """Base loss by hand; adversarial points, bounds and certified loss are those of the true labels."""
    settings = config(loss="mtl-ibp", weight=0.3, box=0.1, bfloat16=False)
    network = toy_network()
    loader = Loader(images, settings, CPU)
    pixels, labels = next(loader.epoch(0))
    targets = torch.from_numpy(stream("soft").dirichlet(np.ones(3), len(labels))).float()
    fed = [adversarial_batch(settings, network, Pixels(NORM, CPU), pixels, labels, 0, 0, t) for t in (None, targets)]
    assert torch.equal(fed[0].adversarial, fed[1].adversarial)
    hard, soft = (training_loss(network, batch, "mtl-ibp", weight=0.3, box=0.1) for batch in fed)
    assert torch.equal(hard.certified, soft.certified)
    by_hand = -(targets * F.log_softmax(hard.logits, 1)).sum(1).mean()
    torch.testing.assert_close(soft.base, by_hand)
    torch.testing.assert_close(soft.total, 0.7 * by_hand + 0.3 * hard.certified)
    # the true labels as soft ones are the true labels
    same_batch = dataclasses.replace(fed[0], targets=F.one_hot(labels, 3).float())
    again = training_loss(network, same_batch, "mtl-ibp", weight=0.3, box=0.1)
    torch.testing.assert_close(again.total, hard.total)


def test_each_image_of_a_batch_gets_its_own_soft_labels(images, teachers, tmp_path, monkeypatch):
    """Followed through a run: the targets of a batch belong to the images that the loader put into it."""
    from nbutils.training import loop

    seen = []
    real = loop.training_loss
    monkeypatch.setattr(
        loop, "training_loss", lambda net, batch, *a, **k: seen.append(batch) or real(net, batch, *a, **k)
    )
    train(soft_run(), images, tmp_path, teachers=teachers, device="cpu", progress=False)
    settings, networks = open_teachers(soft_run(), teachers, "cpu")
    training, _ = split(images, soft_run().validation)
    soft = soft_labels(settings, networks, training, tmp_path, quiet=True)
    loader = Loader(training, soft_run(), CPU)
    order = torch.cat([loader.order(epoch)[: loader.batches * soft_run().batch_size] for epoch in range(2)])
    truth = F.one_hot(torch.from_numpy(training.labels)[order], 3)
    torch.testing.assert_close(torch.cat([batch.targets for batch in seen]), 0.6 * soft[order] + 0.4 * truth)
    assert torch.equal(torch.cat([batch.labels for batch in seen]), truth.argmax(1))


def test_a_run_repeats_whatever_the_order_of_its_teachers_and_where_it_was_stopped(images, teachers, tmp_path):
    whole = train(soft_run(), images, tmp_path / "whole", teachers=teachers, progress=False)
    turned = train(soft_run(), images, tmp_path / "turned", teachers=teachers[::-1], progress=False)
    assert same_weights(whole, turned)
    train(soft_run(), images, tmp_path / "stopped", teachers=teachers, progress=False, until=1)
    before = (tmp_path / "stopped" / NAME).read_bytes()
    assert same_weights(whole, train(soft_run(), images, tmp_path / "stopped", teachers=teachers, progress=False))
    assert (tmp_path / "stopped" / NAME).read_bytes() == before
    assert not same_weights(whole, train(soft_run(), images, tmp_path / "one", teachers=teachers[:1], progress=False))
    hard = dataclasses.replace(soft_run(), soft_labels=0.0)
    assert not same_weights(whole, train(hard, images, tmp_path / "hard", progress=False))
    assert not (tmp_path / "hard" / NAME).exists()


def test_kept_soft_labels_that_are_damaged_or_of_others_are_computed_anew(images, teachers, tmp_path):
    settings, networks = open_teachers(soft_run(), teachers, "cpu")
    right = soft_labels(settings, networks, images, tmp_path, quiet=True)
    path = tmp_path / NAME
    whole = path.read_bytes()
    changed = torch.load(path, weights_only=True)
    changed["labels"][0, 0] += 0.25
    for damage in (whole[: len(whole) // 2], b"", b"no archive"):
        path.write_bytes(damage)
        assert torch.equal(soft_labels(settings, networks, images, tmp_path, quiet=True), right)
        assert torch.equal(torch.load(path, weights_only=True)["labels"], right)
    torch.save(changed, path)
    assert torch.equal(soft_labels(settings, networks, images, tmp_path, quiet=True), right)
    fewer = images.take(range(20))
    assert torch.equal(soft_labels(settings, networks, fewer, tmp_path, quiet=True), right[:20])
    alone, first = open_teachers(soft_run(), teachers[:1], "cpu")
    assert not torch.equal(soft_labels(alone, first, images, tmp_path, quiet=True), right)


def test_a_run_goes_on_with_its_own_teachers_only(images, teachers, tmp_path):
    train(soft_run(), images, tmp_path, teachers=teachers, progress=False, until=1)
    before = (tmp_path / "last.pt").read_bytes()
    with pytest.raises(CheckpointError, match=r"settings: found .*'teachers': .*Use a new output folder"):
        train(soft_run(), images, tmp_path, teachers=teachers[:1], progress=False)
    with pytest.raises(CheckpointError, match=r"settings: found .*'soft_labels': 0.6"):
        train(dataclasses.replace(soft_run(), soft_labels=0.0), images, tmp_path, progress=False)
    assert (tmp_path / "last.pt").read_bytes() == before


def test_refusals(images, teachers, tmp_path):
    with pytest.raises(ParameterError, match="teachers: found 'none'; allowed: one or more ONNX files"):
        train(soft_run(), images, tmp_path / "a", progress=False)
    hard = dataclasses.replace(soft_run(), soft_labels=0.0)
    with pytest.raises(ParameterError, match=r"teachers: found .*toy.onnx.*none, as soft_labels is 0"):
        train(hard, images, tmp_path / "a", teachers=teachers, progress=False)
    with pytest.raises(ParameterError, match="teachers: found 'abc'; allowed: empty"):
        train(dataclasses.replace(hard, teachers="abc"), images, tmp_path / "a", progress=False)
    with pytest.raises(ParameterError, match="teachers: found 'abc'; allowed: empty, or [0-9a-f]{64}"):
        train(
            dataclasses.replace(soft_run(), teachers="abc"), images, tmp_path / "a", teachers=teachers, progress=False
        )
    with pytest.raises(ParameterError, match="each network once"):
        train(soft_run(), images, tmp_path / "a", teachers=[teachers[0], teachers[0]], progress=False)
    with pytest.raises(NetworkError, match=r"gone.onnx"):
        train(soft_run(), images, tmp_path / "a", teachers=[tmp_path / "gone.onnx"], progress=False)
    with pytest.raises(ParameterError, match=r"TEACHERS: found .*gone.onnx"):
        plan_run(soft_run(), images, teachers=[tmp_path / "gone.onnx"], folder=tmp_path / "a")
    bare = export_onnx(toy_network().eval(), tmp_path / "bare.onnx")
    with pytest.raises(NetworkError, match=r"bare.onnx: normalisation: found 'none'"):
        train(soft_run(), images, tmp_path / "a", teachers=[bare], progress=False)
    four: Architecture = dataclasses.replace(TOY, name="four", classes=4)
    wide = export_onnx(toy_network(four).eval(), tmp_path / "four.onnx", normalization=NORM)
    with pytest.raises(NetworkError, match=r"four.onnx: input and classes: found \(\(3, 8, 8\), 4\)"):
        train(soft_run(), images, tmp_path / "a", teachers=[wide], progress=False)
    with pytest.raises(ParameterError, match="soft_labels: found 1.5; allowed: a number from 0 to 1"):
        config(soft_labels=1.5)
    assert not (tmp_path / "a").exists()


def test_the_account_names_the_teachers(images, teachers, tmp_path):
    plan = plan_run(soft_run(), images, teachers=teachers, folder=tmp_path / "run")
    assert f"teachers  {teachers[0]}, {teachers[1]}\n" in plan.describe()
    plan.train()
    made_with, _, history = load_network(tmp_path / "run/last.pt")
    assert made_with == plan.config
    hashes = [json.loads(path.with_suffix(".json").read_text())["sha256"] for path in teachers]
    text = f"; soft labels are the mean of toy.onnx (sha256 {hashes[0]}), other.onnx (sha256 {hashes[1]})"
    assert text in account("here", made_with, history, None, teachers)
    assert text in json.loads(plan.export("toy", "here").with_suffix(".json").read_text())["recipe"]


def test_settings_that_came_later_leave_earlier_digests_and_checkpoints_as_they_were(images, tmp_path):
    assert recipe("sabr").digest == "7b34909817ab"  # on the card of CIFAR100_resnet_small
    plain = config(epochs=2)
    assert not {"teachers", "soft_labels"} & plain.as_dict().keys()
    assert TrainConfig(**soft_run().as_dict()) == soft_run()
    assert soft_run().digest != dataclasses.replace(soft_run(), soft_labels=0.0).digest
    train(plain, images, tmp_path, progress=False, until=1)
    with pytest.raises(CheckpointError, match=r"settings: found \{'teachers': '', 'soft_labels': 0.0\}"):
        plan_run(
            soft_run(),
            images,
            teachers=[export_onnx(toy_network().eval(), tmp_path / "t.onnx", normalization=NORM)],
            folder=tmp_path,
        )
