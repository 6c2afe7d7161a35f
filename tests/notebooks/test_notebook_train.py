"""The training notebook end to end at a small size: pictures, findings, the run's folder, refusals, continuation."""

from __future__ import annotations

import hashlib
import json

import nbformat
import pytest
from render_training import made_log, made_steps

from nbutils.core import NotebookError
from nbutils.images import load_images
from nbutils.networks import open_network
from nbutils.notebook import display, find_notebook, run_notebook
from nbutils.training import read_log, recipe, train

SMALL = {
    "EPOCHS": 2,
    "BATCH_SIZE": 4,
    "LOOK": 1,
    "SETTINGS": {"certified_from": 0, "ramp_epochs": 1, "bfloat16": False},
}
NETWORK = "CIFAR100_resnet_small"


def execute(folder, name, *, report=None, pictures=None, **changes):
    parameters = SMALL | {"RUN_DIR": str(folder / name)} | changes
    out = folder / f"{name}.ipynb"
    return run_notebook(find_notebook("train"), parameters, out, report=report, pictures=pictures)


def sha256(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Folder with run/ (of the training), run.ipynb, report.html and pictures/."""
    folder = tmp_path_factory.mktemp("train")
    execute(folder, "run", report=folder / "report.html", pictures=folder / "pictures")
    return folder


def test_every_figure_is_shown_described_and_explained(run):
    cells = nbformat.read(run / "run.ipynb", as_version=4).cells
    figures = [cell for cell in cells if "figure" in cell.metadata.get("tags", [])]
    assert [cell.id for cell in figures] == [
        "fed", "losses-by-box", "training", "change", "losses-after", "loss-fusion", "exported",
    ]  # fmt: skip
    for cell in figures:
        picture, finding = [o for o in cell.outputs if o.output_type == "display_data"][-2:]
        assert len(picture.data["image/png"]) > 10_000, cell.id
        assert len(picture.metadata["image/png"]["alt"]) > 40, f"{cell.id} has no alt text"
        assert finding.data["text/markdown"].rstrip().endswith("."), cell.id
    shown = [output for cell in cells for output in cell.get("outputs", []) if "image/png" in output.get("data", {})]
    assert len(shown) == 7, "the live curves give way to the final figure"
    html = (run / "report.html").read_text()
    assert html.count("data:image/png;base64") >= 7
    assert "No description has been provided for this image" not in html
    assert {path.stem for path in (run / "pictures").iterdir()} == {cell.id for cell in figures}


def test_the_run_leaves_checkpoints_a_log_and_a_network(run):
    found = sorted(path.relative_to(run / "run").as_posix() for path in (run / "run").rglob("*") if path.is_file())
    assert found == [
        ".lock", "best.pt", "config.json", "last.pt", "log.jsonl", f"onnx/{NETWORK}.json", f"onnx/{NETWORK}.onnx",
    ]  # fmt: skip
    log = read_log(run / "run")
    assert log.finished
    assert (log.config.loss, log.config.ramp_epochs, log.config.seed) == ("sabr", 1, 0)
    card = open_network(run / "run/onnx" / f"{NETWORK}.onnx", device="cpu").card
    assert card.dataset == "cifar100"
    assert card.recipe.startswith("notebooks/train.ipynb with epochs=2 batch_size=4 validation=4")
    assert "on 20 images of embedded; 2 of 2 epochs" in card.recipe


def test_a_run_stopped_after_an_epoch_ends_with_the_same_network(run):
    settings = recipe("sabr", epochs=2, batch_size=4, validation=4, **SMALL["SETTINGS"])
    train(settings, load_images("embedded"), run / "stopped", until=1, device="cpu", progress=False)
    assert read_log(run / "stopped").epochs == 1
    execute(run, "stopped", EXPORT_DIR=str(run / "elsewhere"))
    assert sha256(run / "elsewhere" / f"{NETWORK}.onnx") == sha256(run / "run/onnx" / f"{NETWORK}.onnx")
    timeless = [
        [{key: value for key, value in json.loads(line).items() if "seconds" not in key} for line in path.open()]
        for path in (run / "run/log.jsonl", run / "stopped/log.jsonl")
    ]
    assert timeless[0] == timeless[1]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"SETTINGS": {"learning_rate": 1.0}}, "ParameterError: SETTINGS, recipe setting: found 'learning_rate'"),
        ({"EXPORT_DIR": "onnx"}, "ExportError: EXPORT_DIR: found "),
    ],
)
def test_a_wrong_setting_ends_the_run_early_with_its_name(tmp_path, changes, message):
    with pytest.raises(NotebookError) as error:
        execute(tmp_path, "run", **changes)
    assert message in str(error.value)
    assert [path.name for path in tmp_path.iterdir()] == ["run.failed.ipynb"]


class Handle:
    def __init__(self):
        self.shown = []

    def update(self, thing):
        self.shown.append(thing)


def test_live_curves_are_redrawn_seldom_and_give_way_at_the_end(monkeypatch):
    handle, clock = Handle(), [100.0]
    monkeypatch.setattr(display, "display", lambda thing, display_id: handle.update(thing) or handle)
    monkeypatch.setattr(display.time, "monotonic", lambda: clock[0])
    log = made_log(1)
    live = display.LiveCurves(made_log(0))
    assert "0 of 12 epochs" in handle.shown[0].alt
    steps = made_steps(log)
    for step in steps[:5]:
        live.on_batch(step)
    assert len(handle.shown) == 2, "batches within two seconds share a picture"
    clock[0] += 3
    live.on_epoch([{"loss": 3.0, "base": 3.0, "certified": 0.0, "accuracy": 0.5, "weight": 0.0, "seconds": 1.0}])
    assert "1 of 12 epochs: loss 3 to 3" in handle.shown[2].alt
    assert live.steps == steps[:5]
    live.close()
    assert handle.shown[-1].data == ""
