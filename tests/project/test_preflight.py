"""What `make` says before it installs anything, and what the notebooks' filter leaves."""

from __future__ import annotations

import nbformat
import pytest
from preflight import faults
from strip_notebooks import strip

ALL = {"pip", "venv", "ensurepip"}


@pytest.mark.parametrize("version", [(3, 11), (3, 12), (3, 13)])
def test_nothing_is_wrong_with_a_usual_machine(version):
    assert faults(version, ALL, 20.0) == []


@pytest.mark.parametrize(
    ("version", "modules", "free", "said"),
    [
        ((3, 10), ALL, 20.0, "This is Python 3.10; Python 3.11, 3.12 or 3.13 is needed"),
        ((3, 14), ALL, 20.0, "This is Python 3.14"),
        ((3, 11), ALL - {"venv"}, 20.0, "module venv is missing. On Debian and Ubuntu: apt install python3-venv"),
        ((3, 11), ALL - {"pip"}, 20.0, "apt install python3-pip"),
        ((3, 11), ALL, 3.0, "3.0 GB are free on this disk; 8 GB are needed"),
    ],
)
def test_the_cause_is_named(version, modules, free, said):
    (fault,) = faults(version, modules, free)
    assert said in fault


def test_stripping_keeps_tags_and_takes_outputs(tmp_path):
    cell = nbformat.v4.new_code_cell("1", execution_count=3, metadata={"tags": ["figure"], "collapsed": True})
    cell.outputs = [nbformat.v4.new_output("stream", text="1")]
    path = tmp_path / "a.ipynb"
    nbformat.write(nbformat.v4.new_notebook(cells=[cell], metadata={"widgets": {}}), path)
    assert strip(path)
    (kept,) = nbformat.read(path, as_version=4).cells
    assert (kept.metadata, kept.outputs, kept.execution_count) == ({"tags": ["figure"]}, [], None)
    assert not strip(path), "nothing left to do"
