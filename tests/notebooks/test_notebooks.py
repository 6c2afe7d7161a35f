"""Every notebook in git: clean, parameterised, and made of calls."""

import ast
from itertools import pairwise
from pathlib import Path

import nbformat
import pytest

from nbutils.notebook import notebook_parameters

FOLDER = Path(__file__).resolve().parents[2] / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))


@pytest.fixture(params=NOTEBOOKS, ids=lambda path: path.stem)
def path(request):
    return request.param


@pytest.fixture
def cells(path):
    return nbformat.read(path, as_version=4).cells


def tagged(cells, tag):
    return [cell for cell in cells if tag in cell.metadata.get("tags", [])]


def code(cells):
    return [cell for cell in cells if cell.cell_type == "code"]


def test_there_are_notebooks():
    assert "benchmark" in [path.stem for path in NOTEBOOKS]


def test_no_outputs_are_stored(cells):
    assert not [cell.id for cell in code(cells) if cell.outputs or cell.execution_count]


def test_every_parameter_line_is_understood_and_explained(path, cells):
    (cell,) = tagged(cells, "parameters")
    assigned = [node.target.id for node in ast.parse(cell.source).body if isinstance(node, ast.AnnAssign)]
    known = notebook_parameters(path)
    assert list(known) == assigned, "papermill drops lines it cannot parse"
    assert not [name for name, parameter in known.items() if not parameter["help"].strip()]
    others = [node for node in ast.parse(cell.source).body if not isinstance(node, ast.AnnAssign | ast.ImportFrom)]
    assert not others, "parameters are literals, nothing derived"


def test_cells_call_and_do_not_define(cells):
    for cell in code(cells):
        source = "\n".join(line for line in cell.source.splitlines() if not line.startswith("%"))
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.FunctionDef | ast.ClassDef):
                assert "exercise" in str(cell.metadata.get("tags")), f"{cell.id} defines {node.name}"


def test_a_question_stands_before_each_figure(cells):
    for before, cell in pairwise(cells):
        if "figure" in cell.metadata.get("tags", []):
            shown = "show(" in cell.source or "slide(" in cell.source
            assert shown, f"{cell.id}: figures go through show(figure, finding) or slide(draw, ...)"
            followed = before.cell_type == "markdown" or "figure" in before.metadata.get("tags", [])
            assert followed, f"{cell.id}: no text before the figure"


def test_cell_ids_name_pictures(cells):
    ids = [cell.id for cell in cells]
    assert len(set(ids)) == len(ids)
    assert not [cell.id for cell in tagged(cells, "figure") if cell.id.startswith(("text-", "cell-"))]
