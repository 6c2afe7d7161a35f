"""The runner on tiny notebooks with one pathology each."""

import nbformat
import pytest

from nbutils.core import ExportError, NotebookError, ParameterError
from nbutils.notebook import find_notebook, notebook_parameters, parse_parameters, run_notebook
from nbutils.notebook.runner import hidden_errors

PARAMETERS = """\
STEPS: int = 3  # number of lines
NAME: str = "none"  # a text
EPS_255: Optional[float] = None  # radius in 1/255
"""
KERNEL = {"name": "python3", "display_name": "Python 3", "language": "python"}


@pytest.fixture
def make(tmp_path):
    """A notebook of the given code cells behind a parameter cell; cells are (source, *tags)."""

    def make(*cells, parameters=PARAMETERS, tag="parameters"):
        notebook = nbformat.v4.new_notebook(metadata={"kernelspec": KERNEL})
        first = nbformat.v4.new_code_cell("from typing import Optional\n" + parameters, metadata={"tags": [tag]})
        rest = [nbformat.v4.new_code_cell(source, metadata={"tags": list(tags)}) for source, *tags in cells]
        notebook.cells = [first, *rest]
        path = tmp_path / "tiny.ipynb"
        nbformat.write(notebook, path)
        return path

    return make


def files(folder):
    return sorted(path.name for path in folder.rglob("*") if path.is_file())


def test_parameters_reach_the_cells_and_the_report_shows_them(make, tmp_path):
    path = make(
        ("print(f'{NAME} x {STEPS} in {EPS_255}')",),
        ("import sys; print('a progress bar', file=sys.stderr)",),
        ("print('for the screen')", "screen-only"),
    )
    out, report = tmp_path / "out" / "tiny.ipynb", tmp_path / "out" / "report.html"
    run_notebook(path, {"STEPS": 5, "NAME": "word", "EPS_255": 2}, out, report=report)
    (text,) = [output.text for output in nbformat.read(out, 4).cells[2].outputs]
    assert text == "word x 5 in 2\n"
    html = report.read_text()
    assert "word x 5 in 2" in html
    assert "a progress bar" not in html
    assert "for the screen" not in html
    assert "STEPS" not in html, "the report is for readers: no code"
    assert files(out.parent) == ["report.html", "tiny.ipynb"]


def test_the_kernel_starts_where_jupyterlab_starts_it(make, tmp_path):
    path = make(("import os; print(os.getcwd())",))
    run_notebook(path, {}, tmp_path / "out.ipynb")
    assert nbformat.read(tmp_path / "out.ipynb", 4).cells[1].outputs[0].text.strip() == str(path.parent)


def test_an_unknown_parameter_is_refused_before_anything_runs(make, tmp_path):
    path = make(("1 / 0",))
    with pytest.raises(ParameterError, match=r"tiny.ipynb: no parameter 'STEP'; allowed: STEPS, NAME, EPS_255"):
        run_notebook(path, {"STEP": 1}, tmp_path / "out" / "tiny.ipynb")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("name", "value", "declared"),
    [("STEPS", "5", "int"), ("STEPS", True, "int"), ("NAME", 5, "str"), ("EPS_255", "1/255", r"Optional\[float\]")],
)
def test_a_value_of_another_type_is_refused(make, tmp_path, name, value, declared):
    with pytest.raises(ParameterError, match=rf"{name}: found {value!r}; allowed: a value of type {declared}"):
        run_notebook(make(), {name: value}, tmp_path / "out.ipynb")


def test_texts_of_the_command_line_become_values(make):
    path = make()
    pairs = [("STEPS", "7"), ("NAME", "7"), ("EPS_255", "2.5")]
    assert parse_parameters(path, pairs) == {"STEPS": 7, "NAME": "7", "EPS_255": 2.5}
    assert parse_parameters(path, [("EPS_255", "None")]) == {"EPS_255": None}
    with pytest.raises(ParameterError, match="STEPS: found 'many'; allowed: a literal of type int"):
        parse_parameters(path, [("STEPS", "many")])
    with pytest.raises(ParameterError, match="no parameter 'EPS'"):
        parse_parameters(path, [("EPS", "1")])


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("A_1,b/c.onnx", ["A_1", "b/c.onnx"]),
        ("[A,B]", ["A", "B"]),
        ("A", ["A"]),
        ("['A', 'B']", ["A", "B"]),
        ("[]", []),
        ("1,2", (1, 2)),
    ],
)
def test_a_list_of_words_needs_no_quotation_marks(make, text, value):
    path = make(parameters="NAMES: list = []\nMORE: Optional[list] = None\n")
    assert parse_parameters(path, [("NAMES", text), ("MORE", text)]) == {"NAMES": value, "MORE": value}


@pytest.mark.parametrize("text", ["[A", "A]", "A,,B", "A B", ",", "['A'", "A,", "f(x)", ""])
def test_what_is_no_list_of_words_is_refused(make, text):
    with pytest.raises(ParameterError, match="NAMES: found .*; allowed: a literal of type list, or words with commas"):
        parse_parameters(make(parameters="NAMES: list = []\n"), [("NAMES", text)])


def test_help_of_the_parameters_is_read(make):
    found = notebook_parameters(make())
    assert {name: record["help"] for name, record in found.items()} == {
        "STEPS": "number of lines", "NAME": "a text", "EPS_255": "radius in 1/255",
    }  # fmt: skip


def test_a_failing_cell_fails_the_run_and_names_it(make, tmp_path):
    path = make(("kept = 1",), ("raise ValueError('the radius is wrong')",), ("print('never')",))
    with pytest.raises(NotebookError, match="tiny.ipynb: cell 3 failed with ValueError: the radius is wrong"):
        run_notebook(path, {}, tmp_path / "out" / "tiny.ipynb", report=tmp_path / "out" / "report.html")
    assert files(tmp_path / "out") == ["tiny.failed.ipynb"]


@pytest.mark.parametrize(
    "cell",
    [
        "import ipywidgets as w\no = w.Output()\nwith o:\n    raise ValueError('lost inside')",
        "import ipywidgets as w\nf = lambda x: 1 / x\nw.interactive(f, x=w.IntSlider(0))",
        "import ipywidgets as w\nf = lambda x: 1 / x\nw.interactive_output(f, {'x': w.IntSlider(0)})",
    ],
    ids=["Output", "interactive", "interactive_output"],
)
def test_an_error_hidden_in_a_widget_fails_the_run(make, tmp_path, cell):
    path = make((cell,))
    with pytest.raises(
        NotebookError, match=r"1 error\(s\) inside widget output, the first (ValueError|ZeroDivisionError)"
    ):
        run_notebook(path, {}, tmp_path / "out" / "tiny.ipynb")
    assert files(tmp_path / "out") == ["tiny.failed.ipynb"]


def test_healthy_widget_output_is_no_error(make, tmp_path):
    cell = "import ipywidgets as w\no = w.Output()\nwith o:\n    print('fine')\no"
    run_notebook(make((cell,)), {}, tmp_path / "out.ipynb")
    assert hidden_errors(nbformat.read(tmp_path / "out.ipynb", 4)) == []


def test_a_notebook_without_parameter_cell_is_refused(make, tmp_path):
    with pytest.raises(NotebookError, match="found 0 cells tagged 'parameters'"):
        run_notebook(make(tag="setup"), {}, tmp_path / "out.ipynb")


def test_a_notebook_without_kernel_is_refused(make):
    path = make()
    notebook = nbformat.read(path, 4)
    del notebook.metadata["kernelspec"]
    nbformat.write(notebook, path)
    with pytest.raises(NotebookError, match="tiny.ipynb: names no Python kernel"):
        notebook_parameters(path)


def test_what_is_no_notebook_is_refused(tmp_path):
    broken = tmp_path / "broken.ipynb"
    broken.write_text("{")
    with pytest.raises(NotebookError, match=r"broken.ipynb: not readable as a notebook"):
        notebook_parameters(broken)
    with pytest.raises(NotebookError, match=r"notebook: found 'nonsense'; allowed: .* or one of .*benchmark"):
        find_notebook("nonsense")


def test_an_unwritable_folder_is_one_clear_error(make, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ExportError, match="file: cannot be written .*Choose a folder that can be written"):
        run_notebook(make(), {}, tmp_path / "file" / "out.ipynb")
