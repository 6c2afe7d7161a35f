"""The command that generates a benchmark: what it needs, writes and refuses."""

from __future__ import annotations

import dataclasses
import re
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from generation_toys import CONFIG, IMAGES, generate, state

import nbutils.core.settings
from nbutils.__main__ import main
from nbutils.benchmark.generation import (
    among,
    fresh_selection,
    recorded_selections,
)
from nbutils.core import (
    ExportError,
    SelectionConfig,
)
from nbutils.selection import Selection

# --- the command -------------------------------------------------------------------------------------------------


def arguments(base: Path, *more: str) -> list[str]:
    npz = str(base.parent / "toy.npz")
    return ["generate", "0", "--images", "npz", "--path", npz, *more]


def run_without_torch(base: Path, *words: str) -> subprocess.CompletedProcess:
    script = f"""
        import sys
        from pathlib import Path
        import nbutils.core.settings
        nbutils.core.settings.root = lambda: Path({str(base)!r})
        from nbutils.__main__ import main
        code = main({list(words)!r})
        print("torch" in sys.modules)
        sys.exit(code)
    """
    return subprocess.run([sys.executable, "-c", textwrap.dedent(script)], capture_output=True, text=True)


def test_the_command_in_place_needs_no_torch(base: Path) -> None:
    done = run_without_torch(base, *arguments(base))
    assert done.returncode == 0, done.stderr
    first, *rest = done.stdout.splitlines()
    assert first.startswith("seed 0, mode hard, on 80 images of npz/")
    assert "in the order of the archive; normalisation mean 0.5" in first
    assert first.endswith("/255, from the selection of toy")
    assert rest == [
        "toy: 24 of 24 instances, 200 s each",
        "seed 0, 4800 s in all: instances.csv, vnnlib/ (24 properties) and vnnlib/manifest.json",
        "False",
    ]
    by_command = state(base)
    generate(base)
    assert state(base) == by_command


def test_both_versions_below_a_folder(base: Path) -> None:
    words = ("--layout", "vnncomp", "--out", str(base / "out"), "--gzip", "--mode", "mixed", "--share", "0.1")
    done = run_without_torch(base, *arguments(base, *words))
    assert done.returncode == 0, done.stderr
    assert "24 of 24 instances, 200 s each, 2 of them attackable" in done.stdout
    one, two = ((base / "out" / version / "instances.csv").read_text() for version in ("1.0", "2.0"))
    assert one == two
    assert len(list((base / "out" / "2.0" / "vnnlib").glob("*.vnnlib.gz"))) == 24
    assert not (base / "instances.csv").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["x"], "invalid int value"),
        (["0", "--layout", "vnncomp"], "--layout: found 'vnncomp'; allowed: flat without --out FOLDER"),
        (["0", "--layout", "round"], "--layout: found 'round'; allowed: flat or vnncomp"),
        (["0", "--versions", "1.0", "2.0"], "--versions: found .*both with --layout vnncomp"),
        (["0", "--versions", "3.0"], "--versions: found .*1.0 or 2.0"),
        (["0", "--networks", "none"], "--networks: found 'none'; allowed: toy"),
        (["0", "--eps", "1/255"], "--eps: found '1/255'; allowed: nothing but with --images embedded"),
        (["-1"], "SEED: found -1"),
        (["0", "--dataset", "cifar100"], "--dataset: found 'cifar100'; allowed: nothing without --images npz"),
        (["0"], r"data set of \['toy'\]: found None; allowed: one named by the network's card, or --images SOURCE"),
        (["0", "--out", "{base}"], "checkout: found onnx; allowed: an empty folder"),
        (["0", "--images", "embedded"], "found no open image .no network that fits.*as --eps 2/255"),
    ],
)
def test_wrong_input_is_one_line(base: Path, words: list[str], message: str, capsys: pytest.CaptureFixture) -> None:
    before = state(base)
    try:
        code = main(["generate", *(word.format(base=base) for word in words)])
    except SystemExit as stop:
        code = stop.code
    assert code == 2
    assert re.search(message, capsys.readouterr().err)
    assert state(base) == before


def test_without_a_selection_it_says_how_to_record_one(base: Path, capsys: pytest.CaptureFixture) -> None:
    (base / "vnnlib" / "selected" / "toy.csv").unlink()
    assert main(["generate", "0"]) == 2
    err = capsys.readouterr().err
    assert re.search("found no selection of toy; .*select toy --images cifar100 --export vnnlib/selected/toy.csv", err)
    assert main(["generate", "0", "--networks", "toy"]) == 2


def test_without_the_data_set_it_says_how_to_get_it(base: Path, capsys: pytest.CaptureFixture) -> None:
    selected = base / "vnnlib" / "selected" / "toy.csv"
    selected.write_text(selected.read_text().replace('"dataset": null', '"dataset": "cifar100"'))
    assert main(["generate", "0", "--path", str(base / "nowhere")]) == 2
    err = capsys.readouterr().err
    assert re.search("no such folder.*--download fetches them; --images npz .*--images embedded takes the twenty", err)


@pytest.mark.parametrize(("named", "funnels"), [([], ["toy"]), (["--networks", "other"], ["other"])])
def test_embedded_images_take_networks_with_a_selection_and_no_sample_for_the_whole(
    base: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture, named: list, funnels: list
) -> None:
    """The toy selection is of 80 images, which says nothing of others: the funnel runs, on the toy alone."""
    shutil.copy(base / "onnx" / "toy.onnx", base / "onnx" / "other.onnx")
    asked = []

    def fresh(path: Path, *_: object) -> Selection:
        asked.append(path.stem)
        return recorded_selections({"toy": base / "onnx" / "toy.onnx"})["toy"]

    monkeypatch.setattr("nbutils.images.sources.load_images", lambda *_, **__: IMAGES)
    monkeypatch.setattr("nbutils.benchmark.generation.fresh_selection", fresh)
    code = main(["generate", "0", "--images", "embedded", "--out", str(base.parent / "out"), *named])
    assert asked == funnels
    said = capsys.readouterr().out
    if not named:
        assert code == 0
        assert "toy: no selection of the whole test set, running the funnel on these 80" in said
        assert "other: no selection, left out" in said


def test_fresh_selection_of_images_without_a_recorded_one(tiny_resnet) -> None:
    few = IMAGES.take(range(4))
    settings = SelectionConfig(eps=1 / 255, attack=dataclasses.replace(CONFIG.attack, steps=3, restarts=1))
    selection = fresh_selection(tiny_resnet.path, few, settings, progress=False)
    assert sum(selection.counts.values()) == 4
    assert selection.eps == 1 / 255
    kept = among(selection, few.take([0]))
    assert set(kept.verdicts) <= set(selection.verdicts)
    assert all(verdict.key == few.keys[0] for verdict in kept.verdicts)


def test_the_entry_point_is_the_command() -> None:
    script = Path(__file__).resolve().parents[2] / "generate_properties.py"
    done = subprocess.run([sys.executable, str(script), "--help"], capture_output=True, text=True)
    assert done.returncode == 0
    assert "SEED" in done.stdout


def test_a_foreign_instances_csv_is_refused_before_any_file_is_written(base: Path, monkeypatch) -> None:
    (base / "instances.csv").write_text("mine\n")
    written = []
    monkeypatch.setattr(nbutils.benchmark.generation, "export_benchmark", lambda *args, **more: written.append(args))
    with pytest.raises(ExportError, match="instances.csv: found a file of another origin"):
        generate(base, 1)
    assert not written  # was: refused after every property had been written
    assert (base / "instances.csv").read_text() == "mine\n"
