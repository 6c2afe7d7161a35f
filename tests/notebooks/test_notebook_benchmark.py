"""The benchmark notebook end to end at a small size: pictures, findings, artefacts, equal bytes."""

import csv
import hashlib
import json

import nbformat
import pytest

from nbutils.benchmark.manifest import decode_levels
from nbutils.core import NotebookError
from nbutils.notebook import find_notebook, run_notebook
from nbutils.properties import read_property

SMALL = {
    "EPS_255": 3.0, "STEPS": 5, "RESTARTS": 2, "METHOD": "crown-ibp", "METHODS": ["ibp", "crown-ibp"], "LOOK_AT": 13,
    "RADII_IMAGES": 1, "COUNT": 2,
}  # fmt: skip


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Folder with out/ (the benchmark), report.html and pictures/ of one run, and the executed notebook."""
    folder = tmp_path_factory.mktemp("run")
    execute(folder, "out", report=folder / "report.html", pictures=folder / "pictures")
    return folder


def execute(folder, name, *, report=None, pictures=None, **changes):
    parameters = SMALL | {"OUT_DIR": str(folder / name)} | changes
    out = folder / f"{name}.ipynb"
    return run_notebook(find_notebook("benchmark"), parameters, out, report=report, pictures=pictures)


def tree(folder):
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def test_every_figure_is_shown_described_and_explained(run):
    cells = nbformat.read(run / "out.ipynb", as_version=4).cells
    figures = [cell for cell in cells if "figure" in cell.metadata.get("tags", [])]
    assert len(figures) == 11
    for cell in figures:
        picture, finding = [o for o in cell.outputs if o.output_type == "display_data"][-2:]
        assert len(picture.data["image/png"]) > 10_000, cell.id
        assert len(picture.metadata["image/png"]["alt"]) > 40, f"{cell.id} has no alt text"
        assert finding.data["text/markdown"].rstrip().endswith("."), cell.id
    html = (run / "report.html").read_text()
    assert html.count("data:image/png;base64") >= 11
    assert "No description has been provided for this image" not in html
    assert {path.stem for path in (run / "pictures").iterdir()} == {cell.id for cell in figures}


def test_both_versions_hold_the_same_open_instances(run):
    manifest = json.loads((run / "out" / "manifest.json").read_text())
    entries = manifest["instances"]
    assert len(entries) == 2
    rows = {}
    for version in ("1.0", "2.0"):
        base = run / "out" / version
        rows[version] = list(csv.reader((base / "instances.csv").open()))
        for (network, prop, timeout), entry in zip(rows[version], entries, strict=True):
            assert (base / network).is_file()
            assert timeout == "100"
            read = read_property(base / prop, shape=(3, 32, 32))
            assert read.label == entry["label"]
            levels = decode_levels(entry["image"])
            assert hashlib.sha256(levels.tobytes()).hexdigest() == entry["image_id"]
            assert entry["verdict"]["status"] == "open"
    assert rows["1.0"] == rows["2.0"]
    assert manifest["seed"] == 0
    assert manifest["settings"]["eps"] == 3 / 255


def test_the_same_seed_writes_the_same_bytes_and_another_draws_others(run):
    execute(run, "again")
    assert tree(run / "again") == tree(run / "out")
    execute(run, "other", SEED=3)
    drawn = [json.loads((run / name / "manifest.json").read_text())["instances"] for name in ("out", "other")]
    assert [e["index"] for e in drawn[0]] != [e["index"] for e in drawn[1]]


def test_a_choice_by_hand_is_exported_and_checked(run):
    indices = [entry["index"] for entry in json.loads((run / "out" / "manifest.json").read_text())["instances"]]
    execute(run, "hand", CHOSEN=indices[:1])
    manifest = json.loads((run / "hand" / "manifest.json").read_text())
    assert [entry["index"] for entry in manifest["instances"]] == indices[:1]
    assert manifest["by_hand"] is True
    with pytest.raises(
        NotebookError, match="ParameterError: chosen image 1: found misclassified; allowed: open images"
    ):
        execute(run, "wrong", CHOSEN=[1])
    assert not (run / "wrong").exists()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"EPS_255": 0.0}, "EPS_255: found 0.0"),
        ({"EPS_255": 0.0039}, "write 1.0 for a radius of 1/255"),
        ({"METHODS": ["ibp", "crwon"]}, "method: found 'crwon'; allowed: ibp, crown-ibp"),
        ({"NETWORK": "no_such_net"}, "no_such_net"),
        ({"IMAGES": "imagenet"}, "found 'imagenet'; allowed"),
        ({"COUNT": 0}, "COUNT: found 0"),
        ({"TIMEOUT": -5.0}, "TIMEOUT: found -5.0; allowed: seconds, above 0"),
        ({"LOOK_AT": 77}, "image index: found 77; allowed: one of 0, 1"),
    ],
)
def test_a_wrong_setting_ends_the_run_early_with_its_name(tmp_path, changes, message):
    with pytest.raises(NotebookError, match="(ParameterError|NetworkError|ImageError): ") as error:
        execute(tmp_path, "out", **changes)
    assert message in str(error.value)
    assert [path.name for path in tmp_path.iterdir()] == ["out.failed.ipynb"]
