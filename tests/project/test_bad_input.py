"""What a user gets wrong from the command line: one line that names it, exit code 2, nothing written."""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Callable
from pathlib import Path

import nbformat
import numpy as np
import papermill
import pytest
import toys
from PIL import Image

from nbutils.__main__ import main
from nbutils.benchmark import check_target
from nbutils.core import (
    AttackConfig,
    ExportError,
    ImageSet,
    LedgerError,
    NetworkError,
    NotebookError,
    ParameterError,
    SelectionError,
    check_writable,
    parse_eps,
)
from nbutils.images import load_images
from nbutils.networks import Network, open_network
from nbutils.notebook import find_notebook, run_notebook
from nbutils.selection import write_selected
from nbutils.zoo import evaluate

SMALL = "CIFAR100_resnet_small"
LONG = "x" * 5000


@pytest.fixture
def refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Runs a command; the one line it ends with, once exit code 2 and an untouched `tmp_path` are certain."""

    def refused(*words: object) -> str:
        before = snapshot(tmp_path)
        assert main([str(word) for word in words]) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert line.startswith(f"nbutils {words[0]}: ")
        assert snapshot(tmp_path) == before, "something was written"
        return line

    return refused


def snapshot(folder: Path) -> dict[str, bytes | None]:
    return {str(path): path.read_bytes() if path.is_file() else None for path in sorted(folder.rglob("*"))}


def picture(path: Path, side: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.zeros((side, side, 3), dtype=np.uint8)).save(path)


@pytest.mark.parametrize("name", [LONG, f"/{LONG}", "", ".", "a\0b", "/a\0b"])
def test_what_can_be_no_file_name_is_no_network(refused: Callable[..., str], name: str) -> None:
    assert "allowed: a " in refused("networks", name)


def test_cards_that_are_no_cards(refused: Callable[..., str], tmp_path: Path) -> None:
    network, card = toys.two_neuron_net(tmp_path), tmp_path / "two_neuron.json"
    for content in (b"[" * 100_000, b"\xff\xfe"):
        card.write_bytes(content)
        assert "two_neuron.json: not a readable JSON card" in refused("networks", network)
    card.unlink()
    card.mkdir()
    assert "two_neuron.json: not a readable JSON card" in refused("networks", network)


@pytest.mark.parametrize("text", ["1e999999999", "1e400", "inf", "nan", "1/nan", "1e-5/1e-400", "1/255/1", LONG])
def test_a_radius_that_is_no_number_is_refused_at_once(text: str) -> None:
    began = time.perf_counter()
    with pytest.raises(ParameterError, match=r"eps: found .*allowed: a fraction as 2/255 or a decimal as 0\.0078"):
        parse_eps(text)
    assert time.perf_counter() - began < 1, "exact arithmetic on a billion digits"


def test_seeds_are_not_negative(refused: Callable[..., str]) -> None:
    words = ("select", SMALL, "--count", "3")
    assert "seed of the sample: found -1; allowed: a whole number, 0 or more" in refused(*words, "--sample-seed", "-1")
    assert "seed: found -1; allowed: a whole number from 0" in refused(*words, "--attack-seed", "-1")


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ("a\0.png,1", "found 'a path that leaves the folder'"),
        ("x" * 300 + ".png,1", "found 'no such file'; allowed: a PNG or JPEG file"),
        ("a.png,100", "label of .*a.png: found '100'; allowed: one of 100 class names, or 0 to 99"),
    ],
)
def test_rows_of_labels_csv(refused: Callable[..., str], tmp_path: Path, table: str, message: str) -> None:
    picture(tmp_path / "own" / "a.png", 32)
    (tmp_path / "own" / "labels.csv").write_text(f"file,label\n{table}\n")
    line = refused("select", SMALL, "--images", "folder", "--path", tmp_path / "own", "--dataset", "cifar100")
    assert re.search(message, line), line


def test_images_of_another_size_and_folders_for_files(refused: Callable[..., str], tmp_path: Path) -> None:
    own = ("select", SMALL, "--images", "folder", "--dataset", "cifar100", "--path")
    picture(tmp_path / "tiny" / "apple" / "a.png", 64)
    assert "found '64 x 64 pixels'; allowed: 32 x 32 pixels for cifar100" in refused(*own, tmp_path / "tiny")
    np.savez(tmp_path / "tiny.npz", images=np.zeros((1, 56, 56, 3), np.uint8), labels=[0], class_names=["x"] * 200)
    packed = ("select", SMALL, "--images", "npz", "--dataset", "tinyimagenet", "--path")
    line = refused(*packed, tmp_path / "tiny.npz")
    assert "takes images (3, 32, 32) of 100 classes, npz/tiny.npz has (3, 56, 56) of 200 classes" in line
    (tmp_path / "empty" / "apple").mkdir(parents=True)
    assert "found 'no images'; allowed: PNG or JPEG files" in refused(*own, tmp_path / "empty")
    assert "found 'no such folder'" in refused(*own, tmp_path / "tiny.npz")
    assert "found 'no such file'" in refused(*packed, tmp_path / "empty")
    (tmp_path / "empty" / "apple" / "a.png").mkdir()
    assert "a.png: found 'no such file'" in refused(*own, tmp_path / "empty")


def test_a_folder_without_permission_is_one_line(
    refused: Callable[..., str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def denied(_: object) -> None:
        raise PermissionError(13, "Permission denied", str(tmp_path))

    monkeypatch.setattr(Path, "iterdir", denied)  # tests may run as root, whom nothing is denied
    line = refused("select", SMALL, "--images", "folder", "--path", tmp_path)
    assert line.endswith(f"Permission denied: '{tmp_path}'. Check the path and its permissions.")


def test_evaluate_refuses_before_it_measures(two_neuron: Network, tmp_path: Path) -> None:
    levels = np.zeros((1, 1, 1, 2), dtype=np.uint8)
    images = ImageSet(levels, np.array([0]), np.array([0]), "toy", ("a", "b", "c"), toys.HALF)
    with pytest.raises(NetworkError, match=r"two_neuron: takes images \(1, 1, 2\) of 3 classes, embedded has"):
        evaluate(two_neuron, load_images("embedded"), eps=0.1)
    with pytest.raises(ParameterError, match=r"methods: found \['ibp', 'ibp'\]; allowed: each method once"):
        evaluate(two_neuron, images, eps=0.1, methods=("ibp", "ibp"))
    for content in (b"a diary of one line", b"[" * 100_000 + b"\n"):
        (tmp_path / "diary").write_bytes(content)
        with pytest.raises(LedgerError, match="diary: found a line that is no measurement"):
            evaluate(two_neuron, images, eps=0.1, record=tmp_path / "diary")
        assert (tmp_path / "diary").read_bytes() == content


def test_a_record_cut_off_in_its_first_line_goes_on(two_neuron: Network, tmp_path: Path) -> None:
    levels = np.zeros((1, 1, 1, 2), dtype=np.uint8)
    images = ImageSet(levels, np.array([0]), np.array([0]), "toy", ("a", "b", "c"), toys.HALF)
    record, options = (
        tmp_path / "record",
        {"eps": 0.1, "attack": AttackConfig(steps=1, restarts=1), "methods": ("ibp",)},
    )
    evaluate(two_neuron, images, record=record, **options)
    whole = record.read_bytes().splitlines()
    record.write_bytes(whole[0][:20])
    evaluate(two_neuron, images, record=record, **options)
    assert record.read_bytes().splitlines()[0] == whole[0]


def test_places_for_a_benchmark(tmp_path: Path) -> None:
    with pytest.raises(ParameterError, match="output folder: found '/'; allowed: a folder of its own"):
        check_target(Path("/"))
    (tmp_path / "home" / "deep").mkdir(parents=True)
    (tmp_path / "home" / "diary").write_text("mine")
    with pytest.raises(ExportError, match="home: found deep; allowed: an empty folder or an unchanged earlier export"):
        check_target(tmp_path / "home")
    with pytest.raises(ExportError, match="diary: found a file; allowed: a folder"):
        check_target(tmp_path / "home" / "diary")
    with pytest.raises(ExportError, match=r"cannot be written \(.*\). Choose a folder that can be written"):
        check_target(tmp_path / "home" / "diary" / "out")
    with pytest.raises(ExportError, match="cannot be written"):
        check_writable(Path("/proc/none"))
    with pytest.raises(ExportError, match=r"cannot be used \(File name too long\)"):
        check_target(tmp_path / ("x" * 300))
    before = snapshot(tmp_path)
    check_target(tmp_path / "home" / "new" / "out")
    assert snapshot(tmp_path) == before


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--out", "/"], "output folder: found '/'"),
        (["--out", "/proc/none/out"], "cannot be written"),
        (["--layout", "vnncomp", "--out", "OUT", "--versions", "1.0", "1.0"], "--versions: found ['1.0', '1.0']"),
        (["--images", "imagenet"], "--images: found 'imagenet'; allowed: embedded, cifar100"),
        (["--images", "embedded", "--path", "mine"], "as source embedded takes no path"),
    ],
)
def test_generate_refuses_before_the_funnel(
    refused: Callable[..., str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: list[str], message: str
) -> None:
    monkeypatch.setattr("nbutils.benchmark.generation.fresh_selection", lambda *_: pytest.fail("the funnel ran"))
    words = [str(tmp_path / "out") if word == "OUT" else word for word in words]
    if "--images" not in words:
        words += ["--images", "embedded", "--eps", "3/255"]
    assert message in refused("generate", 0, *words)


@pytest.mark.parametrize(
    ("places", "message"),
    [
        ({"out": "folder"}, "executed notebook: found '.*folder'; allowed: a file, new or to be replaced"),
        ({"out": ""}, "executed notebook: found '.'"),
        ({"report": "folder"}, "report: found '.*folder'; allowed: a file"),
        ({"report": "file/report.html"}, "file: cannot be written"),
        ({"pictures": "file"}, "folder of pictures: found '.*file'; allowed: a folder"),
        ({"pictures": "file/pictures"}, "file: cannot be written"),
    ],
)
def test_a_notebook_does_not_start_where_its_results_have_no_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, places: dict[str, str], message: str
) -> None:
    monkeypatch.setattr(papermill, "execute_notebook", lambda *_, **__: pytest.fail("the notebook ran"))
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_text("mine")
    before = snapshot(tmp_path)
    paths = {name: tmp_path / place if place else Path() for name, place in {"out": "run/out.ipynb", **places}.items()}
    with pytest.raises((NotebookError, ExportError), match=message):
        run_notebook(find_notebook("benchmark"), {}, paths.pop("out"), **paths)
    assert snapshot(tmp_path) == before


def test_a_notebook_of_an_impossible_name(refused: Callable[..., str]) -> None:
    assert "one of benchmark" in refused("notebook", LONG)


def test_a_failed_download_leaves_no_folders(refused: Callable[..., str], tmp_path: Path) -> None:
    words = ("download-published", "--out", tmp_path / "new", "--base-url", "http://127.0.0.1:1")
    assert "cannot be downloaded" in refused(*words)


def test_a_selection_needs_a_file_name(small_network: Network) -> None:
    with pytest.raises(SelectionError, match="selection file: found '.'; allowed: the path of a CSV file"):
        write_selected("", small_network, [], None, None, "toy")


def test_training_refuses_before_it_starts(refused: Callable[..., str], tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    words = ("train", SMALL, "--out", tmp_path / "run")
    assert "--until: found 0; allowed: 1 epoch or more" in refused(*words, "--until", "0")
    assert "file: cannot be written" in refused(*words, "--export", tmp_path / "file")
    line = refused(*words, "--images", "embedded")
    assert "--images: found 'embedded'; allowed: cifar100, tinyimagenet, npz, folder, which hold" in line


def test_bench_passes_on_what_its_parts_say(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture) -> None:
    words = ["bench", "no_such_net", "--parts", "attack", "ibp"]
    monkeypatch.setattr(sys, "argv", ["nbutils", *words])
    assert main(words) == 2
    (line,) = capfd.readouterr().err.splitlines()
    assert "network: found 'no_such_net'" in line


def test_a_twin_is_only_made_of_a_file(tmp_path: Path) -> None:
    for name in (tmp_path / "no.onnx", tmp_path, Path("a\0b")):
        with pytest.raises(NetworkError, match="network file: found .*allowed: a file that exists"):
            open_network(name)


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        ("benchmark", {"TIMEOUT": 0.0}, "TIMEOUT: found 0.0; allowed: seconds, above 0"),
        ("benchmark", {"TIMEOUT": -1.0}, "TIMEOUT: found -1.0"),
        ("benchmark", {"IMAGE_COUNT": 0}, "IMAGE_COUNT: found 0; allowed: a whole number from 1"),
        ("benchmark", {"RADII_IMAGES": 0}, "RADII_IMAGES: found 0; allowed: a whole number from 1"),
        ("benchmark", {"METHODS": []}, r"METHODS: found \[\]; allowed: a list of bound methods"),
        ("benchmark", {"SEED": -1}, "seed: found -1; allowed: a whole number from 0"),
        ("benchmark", {"EPS_255": "3"}, "EPS_255: found '3'; allowed: a number of 1/255 pixel steps"),
        ("benchmark", {"OUT_DIR": "nbutils"}, "nbutils: found .*; allowed: an empty folder or an unchanged earlier"),
        ("regenerate", {"OUT_DIR": "nbutils"}, "nbutils: found .*; allowed: an empty folder or an unchanged earlier"),
        ("regenerate", {"OUT_DIR": "README.md/out"}, "README.md: cannot be written"),
        ("regenerate", {"LAYOUT": "flat"}, "versions: found .*; allowed: one version in layout flat"),
        ("inspect_property", {"OUT_DIR": "README.md"}, "README.md: cannot be written"),
    ],
)
def test_settings_used_late_are_refused_by_the_first_cell(name: str, settings: dict, message: str) -> None:
    parameters, check = [cell for cell in nbformat.read(find_notebook(name), 4).cells if cell.cell_type == "code"][:2]
    known: dict = {}
    exec(parameters.source, known)
    with pytest.raises((ParameterError, ExportError), match=message):
        exec(check.source, known | settings)
