"""The lessons run: solved, every exercise is right; as students get them, every one is unsolved and no cell fails."""

from __future__ import annotations

import nbformat
import pytest

from nbutils.notebook import run_notebook
from nbutils.teaching import write_handout
from nbutils.teaching.handout import lessons

LESSONS = lessons()


def said(path) -> str:
    notebook = nbformat.read(path, as_version=4)
    outputs = [out for cell in notebook.cells if cell.cell_type == "code" for out in cell.outputs]
    return "".join(out.text for out in outputs if out.output_type == "stream")


@pytest.mark.parametrize("path", LESSONS, ids=lambda path: path.stem)
def test_a_lesson_runs_and_its_solutions_are_right(path, tmp_path):
    run_notebook(path, {}, tmp_path / path.name)
    exercises = path.read_text(encoding="utf-8").count('"exercise"')
    text = said(tmp_path / path.name)
    assert text.count(": right.") == exercises >= 3
    assert text.count("not solved yet") == exercises


def test_the_students_edition_has_no_solutions(tmp_path):
    written = write_handout(tmp_path)
    assert len(written) == 2 * len(LESSONS)
    for path in (tmp_path / "student").glob("*.ipynb"):
        cells = nbformat.read(path, as_version=4).cells
        assert not any("solution" in cell.metadata.get("tags", []) for cell in cells)
        assert sum("exercise" in cell.metadata.get("tags", []) for cell in cells) >= 3
