"""The zoo notebook end to end: the real network in miniature, toy networks in a folder, wrong settings."""

from __future__ import annotations

import csv
import json

import nbformat
import numpy as np
import pytest
import toys
from onnx import helper

from nbutils.core import NotebookError
from nbutils.images import CIFAR100, load_images
from nbutils.networks import Figure, write_card
from nbutils.notebook import find_notebook, run_notebook

TINY = {"STEPS": 2, "RESTARTS": 1, "METHODS": ["ibp"], "COUNT": 4}


def execute(folder, name="out", **changes):
    """Cells of the executed notebook by id."""
    out = run_notebook(
        find_notebook("model_zoo"), TINY | changes, folder / f"{name}.ipynb", report=folder / f"{name}.html"
    )
    return {cell.id: cell for cell in nbformat.read(out, as_version=4).cells}


def matched_filters(folder, name="filters"):
    """A linear CIFAR-100 network: logit k is the inner product with the embedded images of class k."""
    images = load_images("embedded")
    points = CIFAR100.normalization.to_network(images.pixels).reshape(len(images), -1)
    weight = np.zeros((100, points.shape[1]), np.float32)
    weight[images.labels] = points / np.linalg.norm(points, axis=1, keepdims=True)
    nodes = [helper.make_node("Flatten", ["x"], ["flat"]), toys.gemm("flat", "y", "1")]
    weights = {"1.w": weight, "1.b": np.zeros(100, np.float32)}
    path = toys.save_onnx(folder / f"{name}.onnx", nodes, weights, input_shape=(3, 32, 32), output_shape=(100,))
    return path


def pictures(cells):
    return {
        name: [o for o in cell.outputs if "image/png" in o.get("data", {})]
        for name, cell in cells.items()
        if "figure" in cell.metadata.get("tags", [])
    }


def markdown(cell):
    return "\n".join(o.data["text/markdown"] for o in cell.outputs if "text/markdown" in o.get("data", {}))


def printed(cell):
    return "".join(o.text for o in cell.outputs if o.output_type == "stream" and o.name == "stdout")


def test_the_networks_of_the_repository(tmp_path):
    cells = execute(tmp_path, OUT_CSV=str(tmp_path / "zoo.csv"))
    found = pictures(cells)
    assert len(found) == 3
    for name, shown in found.items():
        assert len(shown) == 1, name
        assert len(shown[0].metadata["image/png"]["alt"]) > 40, f"{name} has no alt text"
        assert markdown(cells[name]).rstrip().endswith("."), f"{name} has no finding"
    assert "51.61" in markdown(cells["table"])
    assert "1,352,600 | 1,352,600 | 11 | 11 | 5.4 | 5.4 | yes" in markdown(cells["architectures"])
    assert "SHA-256 `" in markdown(cells["recipes"])
    assert "4 embedded images at 1/255, PGD 2 steps x 1 restarts" in printed(cells["sample"])
    assert "| clean |" in markdown(cells["costs"])
    rows = list(csv.DictReader((tmp_path / "zoo.csv").open()))
    assert {row["network"] for row in rows} >= {"CIFAR100_resnet_small", "TinyImageNet_resnet_medium"}
    html = (tmp_path / "out.html").read_text()
    assert html.count("data:image/png;base64") >= 3
    assert "No description has been provided for this image" not in html


def test_foreign_networks_with_records(tmp_path):
    folder = tmp_path / "nets"
    folder.mkdir()
    matched_filters(folder)
    share = {"unit": "%", "measured_on": "all images", "source": "by hand", "n": 20}
    figures = {
        "clean accuracy": Figure(90.0, low=69.9, high=97.2, **share),
        "pgd accuracy": Figure(1.0, eps=1 / 255, low=0.1, high=9.0, steps=2, restarts=1, **share),
    }
    write_card(
        folder / "filters.onnx",
        dataset="cifar100",
        recipe="matched filters",
        figures=figures,
        normalization=CIFAR100.normalization,
    )
    toys.tiny_resnet(folder)
    changes = {"NETWORKS": ["filters", "tiny_resnet"], "FOLDER": str(folder), "RECORD_DIR": str(tmp_path / "runs")}
    cells = execute(tmp_path, COUNT=None, **changes)
    assert "these images do not fit tiny_resnet" in printed(cells["sample"])
    assert "No network here has clean, PGD and CROWN accuracy" in printed(cells["open-images"])
    assert "matched filters" in markdown(cells["recipes"])
    # 18 of 20 images are the best match of their class's filter (Wilson: 69.9 to 97.2 %)
    text = markdown(cells["sample-beside-card"])
    assert "inside the interval measured here: clean 90.00 % (69.9 to 97.2)" in text
    assert "**outside**: PGD 1.00 %" in text
    assert "states no IBP" in text
    (record,) = (tmp_path / "runs").iterdir()
    lines = record.read_text().splitlines()
    assert sum('"clean"' in line for line in lines) == 20
    assert json.loads(lines[0])["eps"] == 1 / 255


def test_a_network_is_left_out_of_the_sample_unless_it_is_named(tmp_path):
    folder = tmp_path / "nets"
    folder.mkdir()
    matched_filters(folder)
    matched_filters(folder, "dear")
    settings = {"FOLDER": str(folder), "NOT_MEASURED": ["dear"]}
    with pytest.raises(NotebookError, match="normalisation of filters: found no card and nothing given"):
        execute(tmp_path, "unstated", **settings)  # was fed with the normalisation usual for CIFAR-100, without a word
    settings |= {"MEAN": list(CIFAR100.normalization.mean), "STD": list(CIFAR100.normalization.std)}
    cells = execute(tmp_path, **settings)
    assert "filters on 4 images of embedded" in printed(cells["sample"])
    assert "as stated by mean and std; radius 1/255" in printed(cells["sample"])
    assert printed(cells["sample"]).rstrip().endswith("; not measured: dear")
    assert "dear" not in markdown(cells["costs"])
    assert "dear" in markdown(cells["recipes"])
    cells = execute(tmp_path, "named", **settings, NETWORKS=["dear"])
    assert "not measured" not in printed(cells["sample"])
    assert "dear" in markdown(cells["costs"])


def test_without_a_measurement_only_cards_are_shown(tmp_path):
    cells = execute(tmp_path, MEASURE=False, NETWORKS=["CIFAR100_resnet_small", "CIFAR100_resnet_super"])
    assert "nothing is measured here" in printed(cells["sample"])
    assert {name: len(shown) for name, shown in pictures(cells).items()} == {
        "measured-beside-published": 1, "open-images": 1, "sample-beside-card": 0,
    }  # fmt: skip
    assert "CIFAR100\\_resnet\\_super" in markdown(cells["table"])
    assert "medium" not in markdown(cells["table"])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"NETWORKS": ["CIFAR100_resnet_tiny"]}, "NETWORKS: found 'CIFAR100_resnet_tiny'; allowed: names of networks"),
        ({"IMAGES": "cifar"}, "IMAGES: found 'cifar'; allowed: embedded, cifar100"),
        ({"COUNT": 21}, "COUNT: found 21; allowed: a whole number from 1 to 20"),
        ({"OUT_CSV": "notebooks"}, "OUT_CSV: found 'notebooks'; allowed: a file"),
    ],
)
def test_a_wrong_setting_ends_the_run_in_the_first_cell_with_its_name(tmp_path, changes, message):
    # cell 3 is the first one after the parameters of the notebook and those put in by the run
    with pytest.raises(NotebookError, match="cell 3 failed with ParameterError: ") as error:
        execute(tmp_path, **changes)
    assert message in str(error.value)
    assert [path.name for path in tmp_path.iterdir()] == ["out.failed.ipynb"]


def test_a_broken_card_ends_the_run_with_the_name_of_its_figure(tmp_path):
    (tmp_path / "nets").mkdir()
    path = matched_filters(tmp_path / "nets")
    write_card(path, figures={"clean accuracy": Figure(99.0, "%", "20 images", "by hand")})
    card = path.with_suffix(".json")
    card.write_text(card.read_text().replace("99.0", "990"))
    with pytest.raises(NotebookError, match=r"NetworkError: .*filters\.json: figure clean accuracy: found '990 %'"):
        execute(tmp_path, FOLDER=str(tmp_path / "nets"))
