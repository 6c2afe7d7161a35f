"""Cards: written, read again, about their own file only."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import toys

from nbutils.core import NetworkError
from nbutils.networks import Figure, cards, open_network, write_card
from nbutils.networks.cards import card_path, list_networks, training_runs

# Cards


FIGURES = {"clean_accuracy": Figure(51.5, "%", "10 images", "by hand")}


FIRST, SECOND = "nbutils train b; 2 of 2 epochs", "begins with the weights of a.onnx, sha256 0; made by hand"
THIRD = "begins with the averaged weights of a run with lr=0.1; 1 of 1 epochs"


@pytest.mark.parametrize(
    ("recipe", "runs", "said"),
    [
        ("", (), "unknown"),
        ("rolled; begins with the dice", ("rolled", "begins with the dice"), "rolled; 1 run before it: linear.json"),
        ("one that begins with the sum", ("one that begins with the sum",), "one that begins with the sum"),
        (f"{FIRST}; {SECOND}", (FIRST, SECOND), f"{FIRST}; 1 run before it: linear.json"),
        (f"{FIRST}; {SECOND}; which {THIRD}", (FIRST, SECOND, THIRD), f"{FIRST}; 2 runs before it: linear.json"),
    ],
)
def test_a_description_tells_the_last_run_and_counts_the_others(
    recipe: str, runs: tuple[str, ...], said: str, tmp_path: Path
) -> None:
    path = toys.linear_net(tmp_path)
    write_card(path, recipe=recipe)
    assert training_runs(recipe) == runs
    assert " ".join(open_network(path, device="cpu").describe().split()).endswith(f" recipe {said} device: cpu")


def test_card_round_trip(tmp_path: Path) -> None:
    path = toys.linear_net(tmp_path)
    written = write_card(path, dataset="npz", normalization=toys.HALF, recipe="none: weights by hand", figures=FIGURES)
    assert written == card_path(path) == tmp_path / "linear.json"
    card = open_network(path, device="cpu").card
    assert (card.dataset, card.normalization, card.recipe) == ("npz", toys.HALF, "none: weights by hand")
    assert dict(card.figures) == FIGURES
    assert sorted(p.name for p in tmp_path.iterdir()) == ["linear.json", "linear.onnx"]


def test_card_of_another_file(tmp_path: Path) -> None:
    path = toys.two_neuron_net(tmp_path)
    write_card(path)
    toys.two_neuron_net(tmp_path, lead=1)
    with pytest.raises(NetworkError, match=r"two_neuron\.json: sha256: found .*write its card anew"):
        open_network(path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"normalisation": None}, r"keys: found \['normalisation'\]; allowed: sha256, dataset, normalization"),
        ({"dataset": 3}, "dataset: found 3; allowed: a name or null"),
        ({"recipe": None}, "recipe: found None; allowed: a text"),
        ({"normalization": {"mean": [0.5]}}, "normalization: found .*allowed: mean and std, each a list of 1 numbers"),
        (
            {"normalization": {"mean": [0, 0, 0], "std": [1, 1, 1]}},
            "normalization: found .*numbers, one a channel",
        ),
        ({"normalization": {"mean": ["0"], "std": [1]}}, "normalization: found .*each a list of 1 numbers"),
        ({"normalization": {"mean": [0], "std": [0]}}, r"std: found \[0\]; allowed: numbers above 0"),
        ({"figures": []}, r"figures: found \[\]; allowed: an object"),
        ({"figures": {"clean": {"value": 1}}}, "figure clean: found .*allowed: value .*unit, measured_on, source"),
        (
            {"figures": {"clean": {"value": "1", "unit": "", "measured_on": "", "source": ""}}},
            "figure clean: found .*allowed: value .a number",
        ),
    ],
)
def test_malformed_card(tmp_path: Path, change: dict, message: str) -> None:
    path = toys.linear_net(tmp_path)
    card = json.loads(write_card(path).read_text())
    card_path(path).write_text(json.dumps(card | change))
    with pytest.raises(NetworkError, match=rf"linear\.json: {message}"):
        open_network(path)


@pytest.mark.parametrize(
    ("text", "message"), [("{", "not a readable JSON card"), ("[1]", r"card: found \[1\]"), ("\xff", "not a readable")]
)
def test_card_that_is_no_json_object(tmp_path: Path, text: str, message: str) -> None:
    path = toys.linear_net(tmp_path)
    card_path(path).write_bytes(text.encode("latin-1"))
    with pytest.raises(NetworkError, match=message):
        open_network(path)


def test_card_that_could_not_be_read_back_is_not_written(tmp_path: Path) -> None:
    path = toys.linear_net(tmp_path)
    with pytest.raises(NetworkError, match="figure clean"):
        write_card(path, figures={"clean": Figure(float("nan"), "%", "10 images", "by hand")})
    assert not card_path(path).exists()


def test_card_that_cannot_be_written_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = toys.linear_net(tmp_path)

    def full(self: Path, target: Path) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(cards.Path, "replace", full)
    with pytest.raises(NetworkError, match=r"linear\.json: the card cannot be written \(No space left on device\)"):
        write_card(path)
    assert [p.name for p in tmp_path.iterdir()] == ["linear.onnx"]


def test_every_network_of_the_repository_opens_with_its_card() -> None:
    for name in list_networks():
        card = open_network(name, device="cpu").card
        assert card.dataset, f"{name} has a card naming its data set"
        assert card.normalization, f"{name} has a card naming its normalisation"
