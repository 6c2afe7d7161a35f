"""Accuracy by hand on the two-neuron network, the record on disk, intervals, refusals."""

from __future__ import annotations

import argparse
import json
from dataclasses import replace

import numpy as np
import pytest
import toys

from nbutils.commands import evaluate as command
from nbutils.core import AttackConfig, BoundsConfig, ImageSet, LedgerError, ParameterError, SelectionConfig
from nbutils.networks import open_network, write_card
from nbutils.selection import run_funnel
from nbutils.zoo import accuracy as module
from nbutils.zoo import evaluate, evaluation_of
from nbutils.zoo.accuracy import Share, wilson

QUICK = AttackConfig(steps=20, restarts=4)
METHODS = ("ibp", "crown")


@pytest.fixture
def images():
    """Grey images (u, v): input u = 2 p - 1; class 0 leads by h1 - h2 + 2.75 over 1 and h1 + h2 + 1 over 2."""
    levels = np.array([[128, 128], [128, 200], [255, 20], [10, 10]], np.uint8).reshape(4, 1, 1, 2)
    return ImageSet(levels, np.array([0, 0, 0, 1]), np.arange(4), "grey", ("a", "b", "c"), toys.HALF)


def test_shares_by_hand(two_neuron, images):
    # eps 0.25 in pixels is 0.5 in the input. With a = u + 1: m1 = relu(a + v) - relu(a - v) + 2.75, m2 > 0 always.
    # image 0, (0, 0): m1 >= 0.5 - 1.5 + 2.75 > 0, every method proves it (IBP: 0 - 2 + 2.75 = 0.75)
    # image 1, (0, 0.57): v in [0.07, 1]: proved;  image 2, (1, -0.84): a in [1.5, 2], v in [-1, -0.34]:
    #   m1 >= 1.5 - 1 - (1.5 + 1) + 2.75 = 0.75 on a - v and a + v jointly; IBP 0.5 - 3 + 2.75 = 0.25: proved
    # image 3 has label 1, where label 0 leads: misclassified
    result = evaluate(two_neuron, images, eps=0.25, attack=QUICK, methods=METHODS)
    assert {name: share.count for name, share in result.shares.items()} == {"clean": 3, "pgd": 3, "ibp": 3, "crown": 3}
    # eps 0.499: almost the whole box around image 0, where IBP gives 2.75 - 3 < 0 and the truth is 0.75
    wide = evaluate(two_neuron, images.take([0]), eps=0.499, attack=QUICK, methods=METHODS)
    assert {name: share.count for name, share in wide.shares.items()} == {"clean": 1, "pgd": 1, "ibp": 0, "crown": 1}


def test_attacked_images_are_not_bounded(tmp_path, images, monkeypatch):
    broken = open_network(toys.two_neuron_net(tmp_path, lead=1.0), device="cpu")  # truth at eps 0.499: 1 - 2 < 0
    monkeypatch.setattr(module, "margin_bounds", lambda *_: pytest.fail("bounds of an attacked image"))
    result = evaluate(broken, images.take([0]), eps=0.499, attack=QUICK, methods=METHODS)
    assert {name: share.count for name, share in result.shares.items()} == {"clean": 1, "pgd": 0, "ibp": 0, "crown": 0}


def test_equal_images_under_two_labels_are_two_images(two_neuron, images, tmp_path):
    """CIFAR-100's test set holds two such pairs; the second image was counted as the first one, proved with it."""
    twins = images.take([0, 0])
    twins = replace(twins, labels=np.array([0, 1]), indices=np.arange(2))
    assert twins.ids[0] == twins.ids[1]
    for record in (None, tmp_path / "record.jsonl", tmp_path / "record.jsonl"):
        result = evaluate(two_neuron, twins, eps=0.25, attack=QUICK, methods=METHODS, record=record)
        assert {share.count for share in result.shares.values()} == {1}, "class 0 leads: label 1 is wrong"


def test_record_resumes_and_grows(two_neuron, images, tmp_path, monkeypatch):
    path = tmp_path / "deep" / "record.jsonl"
    options = {"eps": 0.25, "attack": QUICK, "record": path}
    evaluate(two_neuron, images.take([0, 3]), methods=("ibp",), **options)
    first = path.read_bytes()
    path.write_bytes(first + b'["cut o')  # killed while writing
    whole = evaluate(two_neuron, images, methods=METHODS, **options)
    assert path.read_bytes().startswith(first)
    assert len(path.read_text().splitlines()) == 1 + 4 + 3 + 3 + 3  # header, clean, pgd, ibp, crown
    monkeypatch.setattr(module, "run_attack", lambda *_: pytest.fail("measured again"))
    monkeypatch.setattr(module, "margin_bounds", lambda *_: pytest.fail("measured again"))
    again = evaluate(two_neuron, images, methods=METHODS, **options)
    assert again == whole
    with pytest.raises(LedgerError, match="It is about another network, radius or normalisation: choose another file"):
        evaluate(two_neuron, images, eps=0.1, attack=QUICK, record=path)
    path.write_text(json.dumps({"x": 1}) + "\nnothing\n")
    with pytest.raises(LedgerError, match="found a line that is no measurement"):
        evaluate(two_neuron, images, **options)
    (tmp_path / "file").write_text("")
    with pytest.raises(LedgerError, match="cannot be used"):
        evaluate(two_neuron, images, eps=0.25, record=tmp_path / "file" / "record")


@pytest.mark.parametrize(("lead", "counts"), [(2.75, (1, 1, 0)), (1.0, (1, 0, 0))])
def test_verdicts_of_the_funnel_give_the_same_shares(tmp_path, images, lead, counts):
    # image 0 at eps 0.499: the truth is lead - 2, IBP says lead - 3; image 3 is misclassified at any lead
    network, pair = open_network(toys.two_neuron_net(tmp_path, lead=lead), device="cpu"), images.take([0, 3])
    config = SelectionConfig(eps=0.499, attack=QUICK, bounds=BoundsConfig(method="ibp"))
    verdicts = run_funnel(network, pair, config, progress=False)
    found = evaluation_of(verdicts, "toy", pair.source, config)
    assert tuple(share.count for share in found.shares.values()) == counts
    assert found == replace(
        evaluate(network, pair, eps=0.499, attack=QUICK, methods=("ibp",)), network="toy", seconds={}
    )
    written = found.figures("by hand")["pgd accuracy"]
    assert (written.steps, written.restarts, written.eps) == (QUICK.steps, QUICK.restarts, 0.499)
    with pytest.raises(ParameterError, match="verdicts: found 0"):
        evaluation_of([], "toy", "npz", config)


def test_wilson_interval():
    low, high = wilson(5, 10)  # Wilson 1927: 0.2366 to 0.7634
    assert (low, high) == (pytest.approx(0.2366, abs=1e-4), pytest.approx(0.7634, abs=1e-4))
    assert wilson(0, 10)[0] == 0.0
    assert wilson(10, 10)[1] == pytest.approx(1.0)
    assert str(Share(1, 4)) == "25.00 % (1 of 4; 95 % interval 4.6 to 69.9)"
    with pytest.raises(ParameterError, match=r"count: found \(3, 2\)"):
        wilson(3, 2)


def test_refusals(two_neuron, images):
    with pytest.raises(ParameterError, match="eps: found 2; .* write 2/255, not 2"):
        evaluate(two_neuron, images, eps=2)
    with pytest.raises(ParameterError, match="method: found 'magic'"):
        evaluate(two_neuron, images, eps=0.1, methods=("magic",))
    with pytest.raises(ParameterError, match="number of images: found 0"):
        evaluate(two_neuron, images.take([]), eps=0.1)


def test_command_prints_shares_and_writes_the_card(tmp_path, images, capsys, monkeypatch):
    network = toys.two_neuron_net(tmp_path)
    monkeypatch.setattr("nbutils.commands.arguments.images_from", lambda _: images)  # no source holds two-pixel images
    write_card(network, normalization=toys.HALF, recipe="by hand")
    parser = argparse.ArgumentParser()
    command.add_arguments(parser)
    words = [network, "--images", "npz", "--eps", "0.25", "--steps", 5, "--restarts", 2, "--write-card"]
    command.run(parser.parse_args([str(word) for word in [*words, "--methods", "ibp"]]))
    assert "75.00 % (3 of 4" in capsys.readouterr().out
    card = open_network(network, device="cpu").card
    assert card.recipe == "by hand"
    assert card.figures["ibp verified"].value == 75.0
    source = card.figures["ibp verified"].source
    assert f"evaluate {network} --images npz" in source
    assert "--steps 5" in source
    assert "--methods ibp" in source  # the command that measures it, not one that measures more
