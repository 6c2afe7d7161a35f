"""Training: losses against finite differences and auto_LiRPA, keyed randomness, checkpoints, ONNX out."""

from __future__ import annotations

import dataclasses
import errno
import json
import resource
import subprocess
import sys

import pytest
import torch
from training_toys import NORM, TOY, same_weights
from training_toys import toy_config as config

from nbutils.core import ExportError, ImageError, ImageSet, ParameterError
from nbutils.networks import architectures, training_runs
from nbutils.training import (
    RECIPES,
    CheckpointError,
    TrainingError,
    account,
    checkpoint,
    load_network,
    loop,
    recipe,
    train,
)
from nbutils.training.plan import plan_run


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


@pytest.mark.parametrize("loss", ["none", "sabr", "crown-row"])
@pytest.mark.parametrize("killed_at", [1, 4, 5])
def test_a_run_killed_within_an_epoch_goes_on_from_its_middle(images, loss, killed_at, tmp_path, monkeypatch):
    settings = config(epochs=2, loss=loss, weight=0.2, box=0.1)  # three batches an epoch
    whole = train(settings, images, tmp_path / "whole", progress=False)
    monkeypatch.setattr(loop, "EVERY", 0.0)
    seen = []

    def kill(step):
        seen.append(step.at)
        if len(seen) == killed_at:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(settings, images, tmp_path / "killed", progress=False, on_batch=kill)
    resumed = train(settings, images, tmp_path / "killed", progress=False, on_batch=lambda step: seen.append(step.at))
    assert seen == pytest.approx([1 / 3, 2 / 3, 1, 4 / 3, 5 / 3, 2])  # no batch is computed twice, none left out
    assert same_weights(whole, resumed)
    logs = [[json.loads(line) for line in (tmp_path / f / "log.jsonl").open()] for f in ("whole", "killed")]
    timeless = [[{k: v for k, v in row.items() if "seconds" not in k} for row in log] for log in logs]
    assert timeless[0] == timeless[1]


def test_checkpoints_within_an_epoch_are_written_by_the_clock_and_older_ones_are_read(images, tmp_path, monkeypatch):
    saved = []
    monkeypatch.setattr(
        checkpoint, "save", lambda path, made_with, state: saved.append((path.name, state["within"]["batches"]))
    )
    train(config(epochs=2), images, tmp_path / "quick", progress=False)
    assert [batches for name, batches in saved if name == "last.pt"] == [0, 0]  # less than ten minutes: at the ends
    monkeypatch.undo()
    monkeypatch.setitem(architectures.ARCHITECTURES, "toy", TOY)
    train(config(epochs=2), images, tmp_path / "old", progress=False, until=1)
    made_with, state = checkpoint.load(tmp_path / "old/last.pt")
    checkpoint.save(tmp_path / "old/last.pt", made_with, {k: v for k, v in state.items() if k != "within"})
    resumed = train(config(epochs=2), images, tmp_path / "old", progress=False)
    assert same_weights(resumed, train(config(epochs=2), images, tmp_path / "whole", progress=False))


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
    last, middle, first = training_runs(account("here", made_with, history, tmp_path / "b/last.pt"))
    assert last.startswith("here; 1 of 1 epochs")
    assert middle.startswith("begins with the averaged weights of a run with ")
    assert "lr=0.02" in middle
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
