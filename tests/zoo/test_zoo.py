"""The networks beside the published: read off files and cards, in tables and sentences, and measured on a sample."""

# ruff: noqa: RUF001 (tables are compared with their own minus sign and dash)

from __future__ import annotations

import csv
import json
import subprocess
import sys

import numpy as np
import pytest
import toys

from nbutils.__main__ import main
from nbutils.core import NETWORKS, AttackConfig, ExportError, ImageSet, NetworkError, ParameterError
from nbutils.findings import networks as findings
from nbutils.networks import ACCURACIES, ARCHITECTURES, Figure, figure_name, open_network, write_card
from nbutils.networks.cards import card_path
from nbutils.zoo import (
    Entry,
    Evaluation,
    accuracy_text,
    measure_note,
    plain,
    read_zoo,
    same_measure,
    same_radius,
    title,
)
from nbutils.zoo.accuracy import Share
from nbutils.zoo.entries import PUBLISHED, measured_as_published, read_network_file
from nbutils.zoo.sample import fitting, measure_sample, sample_markdown
from nbutils.zoo.tables import accuracy_markdown, architecture_markdown, recipes_markdown, write_csv

ONE = 1 / 255
SMALL = "CIFAR100_resnet_small"
QUICK = AttackConfig(steps=5, restarts=2)
PUBLISHED_PGD = {"steps": 100, "restarts": 20}


def figure(value, **known):
    return Figure(value, "%", "10,000 images", "by hand", **known)


@pytest.fixture
def folder(tmp_path):
    """A toy network under a published name with a card, another one without."""
    toys.tiny_resnet(tmp_path).rename(tmp_path / f"{SMALL}.onnx")
    figures = {
        "clean accuracy": figure(50.0, low=49.0, high=51.0, n=10_000),
        "pgd accuracy": figure(40.0, low=39.0, high=41.0, n=10_000, eps=ONE, **PUBLISHED_PGD),
        "crown verified": figure(10.0, n=10_000, eps=3 / 255),
        "ibp verified": figure(1.5, n=10_000, eps=ONE),
        "anything": Figure(3, "s", "one image", "a clock"),
    }
    write_card(tmp_path / f"{SMALL}.onnx", dataset="cifar100", recipe="rolled | dice <b>", figures=figures)
    toys.two_neuron_net(tmp_path)
    return tmp_path


@pytest.fixture
def grey():
    """Grey images of two pixels; see test_evaluate for the arithmetic."""
    levels = np.array([[128, 128], [128, 200], [255, 20], [10, 10]], np.uint8).reshape(4, 1, 1, 2)
    return ImageSet(levels, np.array([0, 0, 0, 1]), np.arange(4), "grey", ("a", "b", "c"), toys.HALF)


# --- the published table ----------------------------------------------------------------------------------------------


def test_published_table_agrees_with_what_else_is_known():
    assert list(PUBLISHED) == list(NETWORKS)
    # facts: the pool of the published filter, counted from its lists
    assert (PUBLISHED["CIFAR100_resnet_large"].pool, PUBLISHED["TinyImageNet_resnet_medium"].pool) == (942, 834)
    for name, row in PUBLISHED.items():
        assert row.clean > row.pgd > row.crown > 0
        assert row.layers == ARCHITECTURES[name].layers
        assert row.megabytes == pytest.approx(4 * row.network.parameters / 1e6, abs=0.2)  # float32
        assert [row.accuracy(step) for step in ("clean accuracy", "ibp verified")] == [row.clean, None]


def test_canonical_names_are_those_that_evaluate_writes():
    shares = {step: Share(1, 2) for step in ("clean", "pgd", "ibp", "crown-ibp", "crown", "alpha-crown")}
    written = Evaluation("net", "grey", ONE, shares, {}, QUICK).figures("command")
    assert tuple(written) == ACCURACIES
    assert figure_name("crown-ibp") == "crown-ibp verified"
    found = written["pgd accuracy"]
    assert (found.value, found.n, found.eps) == (50.0, 2, ONE)
    assert (found.low, found.high) == (9.45, 90.55)  # Wilson, 1 of 2
    assert (found.steps, found.restarts) == (5, 2)
    assert (written["clean accuracy"].eps, written["crown verified"].steps) == (None, None)
    assert str(found) == "50 % (95 % interval 9.45 to 90.55; 2 grey images, eps 0.00392157)"


# --- figures on cards -------------------------------------------------------------------------------------------------


def test_a_figure_keeps_its_interval_and_an_old_card_still_reads(tmp_path):
    path = toys.linear_net(tmp_path)
    figures = {"clean accuracy": figure(50.0, low=40.0, high=60.0, n=96, eps=ONE), "old": figure(1.0)}
    stored = json.loads(write_card(path, figures=figures).read_text())["figures"]
    assert dict(open_network(path, device="cpu").card.figures) == figures
    assert dict(read_network_file(path).figures) == figures
    assert set(stored["old"]) == {"value", "unit", "measured_on", "source"}
    assert "95 % interval 40 to 60" in open_network(path, device="cpu").describe()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"low": 10}, r"low, high: found \(10, None\); allowed: both ends of an interval around 50"),
        ({"low": 60, "high": 70}, r"low, high: found \(60, 70\)"),
        ({"low": "10", "high": 70}, "found .*where known low, high, n, eps, steps, restarts .numbers"),
        ({"low": None}, "found .*where known low"),
        ({"interval": [1, 2]}, "found .*allowed: value"),
        ({"n": 0}, "n: found 0; allowed: a number of images, 1 or more"),
        ({"n": 2.5}, "n: found 2.5"),
        ({"n": True}, "found .*allowed: value"),
        ({"eps": 1}, "eps: found 1; allowed: a radius in pixel units"),
        ({"steps": 100}, r"steps, restarts: found \(100, None\); allowed: .*both or none"),
        ({"steps": 100, "restarts": 0}, r"steps, restarts: found \(100, 0\); allowed: .*restarts from 1"),
        ({"steps": 1.5, "restarts": 1}, r"steps, restarts: found \(1.5, 1\); allowed: whole numbers"),
        ({"value": 0.5, "unit": "share"}, "found '0.5 share'; allowed: a share of the images, 0 to 100 %"),
        ({"value": 101}, "found '101 %'"),
        ({"value": "36.9"}, "found .*allowed: value .a number"),
    ],
)
def test_a_broken_figure_is_refused_with_its_name(tmp_path, change, message):
    path = toys.linear_net(tmp_path)
    card = json.loads(write_card(path, figures={"clean accuracy": figure(50.0)}).read_text())
    card["figures"]["clean accuracy"] |= change
    card_path(path).write_text(json.dumps(card))
    for read in (lambda: read_zoo(folder=tmp_path), lambda: open_network(path, device="cpu")):
        with pytest.raises(NetworkError, match=rf"linear\.json: figure clean accuracy:? ?{message}"):
            read()


# --- the entries ------------------------------------------------------------------------------------------------------


def test_the_five_come_first_and_figures_are_compared_at_one_radius_only(folder):
    entries = read_zoo(folder=folder)
    assert [entry.name for entry in entries] == [*PUBLISHED, "two_neuron"]
    small, medium, *_, toy = entries
    assert small.difference("clean accuracy") == pytest.approx(50 - 51.61)
    assert small.difference("pgd accuracy") == pytest.approx(40 - 37.92)
    assert small.difference("crown verified") is None  # measured at 3/255
    assert small.difference("ibp verified") is None  # none published
    assert small.steps == ("clean accuracy", "pgd accuracy", "ibp verified", "crown verified")
    assert (medium.file, medium.measured("clean accuracy"), medium.as_published) == (None, None, None)
    assert (toy.published, toy.as_published, toy.published_accuracy("clean accuracy")) == (None, None, None)
    assert small.as_published is False
    assert (small.file.parameters, small.file.layers, small.file.classes) == (1005, 5, 5)
    bare = Entry(SMALL, read_network_file(folder / f"{SMALL}.onnx"), PUBLISHED[SMALL])
    assert bare.difference("pgd accuracy") == small.difference("pgd accuracy")
    assert not same_radius(None, None)
    assert same_radius(0.00392157, ONE)


def test_the_network_of_the_repository_is_built_as_published(small_network):
    (entry,) = read_zoo([SMALL])
    assert entry.as_published is True
    assert (entry.file.sha256, entry.file.classes) == (small_network.card.sha256, small_network.classes)
    assert (entry.file.parameters, entry.file.layers) == (small_network.card.parameters, small_network.card.layers)


def test_names_choose_and_order(folder):
    assert [e.name for e in read_zoo(["two_neuron", SMALL], folder)] == ["two_neuron", SMALL]
    assert read_zoo(["CIFAR100_resnet_super"], folder)[0].file is None
    for names, message in (
        (["other"], "NETWORKS: found 'other'; allowed: names of networks in .*two_neuron"),
        ([SMALL, SMALL], "NETWORKS: found .*each name once"),
        ("two_neuron", "NETWORKS: found 'two_neuron'; allowed: a list of names"),
        ([3], r"NETWORKS: found \[3\]; allowed: a list of names"),
    ):
        with pytest.raises(ParameterError, match=message):
            read_zoo(names, folder)
    for place in (folder / "nowhere", folder / "two_neuron.onnx"):
        with pytest.raises(ParameterError, match="FOLDER: found .*allowed: a folder with .onnx or .onnx.gz files"):
            read_zoo(folder=place)


def test_a_damaged_network_or_a_card_of_another_file_is_refused(folder):
    (folder / "torn.onnx").write_bytes(b"torn")
    with pytest.raises(NetworkError, match=r"torn\.onnx"):
        read_zoo(folder=folder)
    assert read_zoo(["two_neuron"], folder)[0].file is not None  # the others stay usable
    toys.two_neuron_net(folder).rename(folder / f"{SMALL}.onnx")
    with pytest.raises(NetworkError, match=rf"{SMALL}\.json: sha256"):
        read_zoo([SMALL], folder)


def test_a_weaker_attack_is_not_compared_with_the_published_one():
    """PGD accuracy under fewer steps is higher for nothing: shown with its size, without a difference."""
    for known, note in (
        ({"steps": 10, "restarts": 1}, "10 x 1 steps"),
        ({}, "steps unknown"),
        ({"steps": 10, "restarts": 1, "eps": 3 / 255}, "at 3/255, 10 x 1 steps"),
    ):
        pgd = figure(60.0, **{"eps": ONE, **known})
        assert measure_note("pgd accuracy", pgd) == note
        assert not measured_as_published("pgd accuracy", pgd)
        assert measured_as_published("crown verified", pgd) == (pgd.eps == ONE)  # a bound has no attack
    assert measured_as_published("pgd accuracy", figure(60.0, eps=ONE, **PUBLISHED_PGD))
    assert same_measure(
        "pgd accuracy", figure(1.0, eps=ONE, steps=5, restarts=2), figure(2.0, eps=ONE, steps=5, restarts=2)
    )
    assert not same_measure("pgd accuracy", figure(1.0, eps=ONE), figure(1.0, eps=ONE))


# --- tables -----------------------------------------------------------------------------------------------------------


def test_csv_holds_every_row(folder, tmp_path):
    entries = read_zoo(folder=folder)
    path = write_csv(tmp_path / "deep" / "zoo.csv", entries)
    rows = list(csv.DictReader(path.open()))
    assert len(rows) == 4 + 4 * 3 + 3
    first, pgd, ibp = rows[:3]
    assert first == {
        "network": SMALL, "figure": "clean accuracy", "status": "measured", "eps": "", "steps": "", "restarts": "",
        "measured": "50.0", "low": "49.0", "high": "51.0", "images": "10000", "published": "51.61",
        "difference": "-1.61",
    }  # fmt: skip
    assert (float(pgd["eps"]), pgd["steps"], pgd["restarts"]) == (ONE, "100", "20")
    assert (ibp["published"], ibp["difference"]) == ("", "")
    assert {row["status"] for row in rows} == {"measured", "not measured", "not trained yet"}
    assert [p.name for p in path.parent.iterdir()] == ["zoo.csv"]
    with pytest.raises(ExportError, match=r"cannot be written .*Choose another file"):
        write_csv(path / "below.csv", entries)


def test_text_is_aligned_and_says_what_is_missing(folder):
    head, *lines = accuracy_text(read_zoo(folder=folder)).splitlines()
    assert lines[0].split("  ")[0] == SMALL
    assert lines[0].rstrip().endswith("49.0 to 51.0  10,000      51.61       -1.61")
    assert lines[3].split()[:2] == ["CROWN", "(at"]
    assert lines[3].endswith("-")
    assert "not trained yet" in lines[4]
    assert "not measured" in lines[-1]
    assert max(map(len, [head, *lines])) <= 120


def test_markdown_shows_differences_and_escapes_what_cards_say(folder):
    entries = read_zoo(folder=folder)
    table = accuracy_markdown(entries)
    assert len({line.count("|") for line in table.splitlines()}) == 1
    row = table.splitlines()[2]
    assert "50.00 (49.0 – 51.0) | 51.61 | −1.61" in row
    assert "10.00, at 3/255 | 20.14 | –" in row
    built = architecture_markdown(entries).splitlines()
    assert "1,005 | 1,352,600 | 5 | 11 | 0.0 | 5.4 | **no**" in built[2]
    assert built[3].endswith("| – | – | 2,536,344 | – | 19 | – | 10.1 | – |")
    text = recipes_markdown(entries)
    assert r"rolled \| dice &lt;b&gt;" in text
    assert "The card does not say how it was trained." in text
    assert "- clean 50 %, PGD 40 %, IBP 1.5 %, CROWN (at 3/255) 10 %: 10,000 images; by hand" in text
    assert recipes_markdown(entries[1:2]) == "No network is here yet."
    write_card(
        folder / f"{SMALL}.onnx", recipe="a; 1 of 1 epochs; begins with the weights of b; which begins with the c"
    )
    text = recipes_markdown(read_zoo(folder=folder))
    assert "\n\n1. a; 1 of 1 epochs\n1. begins with the weights of b\n1. begins with the c\n\n" in text
    assert plain("a_b\n`c`") == r"a\_b \`c\`"
    assert title("crown verified", figure(1.0)) == "CROWN (radius unknown)"


def test_the_command_prints_the_table_without_torch():
    script = (
        "import sys\nfrom nbutils.__main__ import main\n"
        "code = main(['networks'])\nprint('torch' in sys.modules, file=sys.stderr)\nsys.exit(code)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0
    assert all(name in done.stdout for name in PUBLISHED)
    assert "51.61" in done.stdout
    assert "Differences in percentage points" in done.stdout
    assert done.stderr.strip() == "False", "the table must not wait for torch"


def test_the_command_refuses_a_broken_card_in_one_line(folder, monkeypatch, capsys):
    (folder / "onnx").mkdir()
    for name in (f"{SMALL}.onnx", f"{SMALL}.json"):
        (folder / name).rename(folder / "onnx" / name)
    card = folder / "onnx" / f"{SMALL}.json"
    card.write_text(card.read_text().replace('"value": 50.0', '"value": "much"'))
    monkeypatch.setattr("nbutils.core.settings.root", lambda: folder)
    assert main(["networks"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert f"{SMALL}.json: figure clean accuracy" in line


# --- a sample measured here -------------------------------------------------------------------------------------------


def test_a_sample_is_measured_recorded_and_held_against_the_card(tmp_path, grey, monkeypatch):
    path = toys.two_neuron_net(tmp_path)
    # right: images 0, 1, 2, and PGD and IBP leave them at eps 0.25 (test_evaluate)
    figures = {
        "clean accuracy": figure(70.0),
        "pgd accuracy": figure(5.0, eps=0.25, steps=5, restarts=2),
        "ibp verified": figure(1, eps=ONE),
    }
    write_card(path, figures=figures)
    entries = read_zoo(["two_neuron", SMALL], tmp_path)
    fit = fitting(entries, grey)
    assert [entry.name for entry in fit] == ["two_neuron"]
    options = {"eps": 0.25, "attack": QUICK, "methods": ("ibp",), "record_dir": tmp_path / "runs", "progress": False}
    sample = measure_sample(entries, grey, **options)
    (record,) = (tmp_path / "runs").iterdir()
    assert record.name == f"two_neuron-{fit[0].file.sha256[:12]}-63.75.jsonl"
    assert {name: f.value for name, f in sample.figures["two_neuron"].items()} == {
        "clean accuracy": 75.0, "pgd accuracy": 75.0, "ibp verified": 75.0,
    }  # fmt: skip
    text = findings.of_sample(fit, sample)  # Wilson, 3 of 4: 30.1 to 95.4 %
    assert "inside the interval measured here: clean 70.00 % (30.1 to 95.4)" in text
    assert "**outside**: PGD 5.00 % (30.1 to 95.4)" in text
    assert "the card states no IBP with these settings" in text
    assert "Of 4 images" in text
    assert r"| two\_neuron | clean | 3 of 4 | 75.0 | 30.1 to 95.4 |" in sample_markdown(sample)
    assert "Most costly an image" in findings.of_costs(sample)
    monkeypatch.setattr("nbutils.zoo.accuracy.run_attack", lambda *_: pytest.fail("measured again"))
    assert measure_sample(fit, grey, **options).figures == sample.figures
    toys.two_neuron_net(tmp_path, lead=1.0)
    write_card(path)
    with pytest.raises(NetworkError, match="as read first"):
        measure_sample(fit, grey, **options)


def test_images_that_no_network_takes_are_refused(folder, grey):
    entries = read_zoo([SMALL, "CIFAR100_resnet_large"], folder)
    with pytest.raises(
        ParameterError, match=r"IMAGES: found 'grey: images \(1, 1, 2\) of 3 classes'; allowed: .*takes \(3, 8"
    ):
        fitting(entries, grey)
    with pytest.raises(ParameterError, match="a network here takes .none is here"):
        fitting(entries[1:], grey)


# --- findings ---------------------------------------------------------------------------------------------------------


def test_findings_say_what_the_figures_say(folder):
    entries = read_zoo(folder=folder)
    text = findings.of_table(entries)
    assert "2 of 6 networks are here; not trained yet: CIFAR100\\_resnet\\_medium" in text
    assert "in points from the published: clean −1.61, PGD +2.08." in text
    assert "The card of two\\_neuron states no clean, PGD, CROWN accuracy" in text
    # clean 51.61 lies outside 49 to 51, PGD 37.92 outside 39 to 41, CROWN has no interval
    assert findings.of_zoo(entries).startswith("**0 of 2** published figures lie inside the measured 95 % interval. ")
    assert "nothing to compare" in findings.of_zoo(entries[1:])
    assert "CIFAR100\\_resnet\\_large 24 instances of 942 open images" in findings.of_pools(entries)
    assert "leaves" not in findings.of_pools(entries)  # PGD and CROWN at two radii
    built = findings.of_architectures(entries)
    assert f"Not built like the published network of the same name: {plain(SMALL)}" in built
    assert "Without a published counterpart: two\\_neuron." in built
    assert "parameters and layers as published" in findings.of_architectures(read_zoo([SMALL]))
    assert findings.of_architectures(entries[-1:]).startswith("No network here has a published counterpart.")


def test_findings_of_a_network_like_the_published(tmp_path):
    path = toys.tiny_resnet(tmp_path).rename(tmp_path / f"{SMALL}.onnx")
    shares = {"clean": Share(5200, 10_000), "pgd": Share(3800, 10_000), "crown": Share(2000, 10_000)}
    write_card(path, figures=Evaluation(SMALL, "cifar100/test", ONE, shares, {}, AttackConfig()).figures("by hand"))
    entries = read_zoo([SMALL], tmp_path)
    assert findings.of_zoo(entries).startswith("**3 of 3** published figures lie inside")
    assert "leaves 18.00 % open here" in findings.of_pools(entries)
