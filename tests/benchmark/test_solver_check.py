"""The check of a solver's answers, with a solver that answers what it is told to."""

from __future__ import annotations

import importlib.util
import re
import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import toys

from nbutils.benchmark import export_benchmark
from nbutils.core import Box, ImageSet, Instance, ParameterError, Verdict
from nbutils.networks import Network
from nbutils.properties import make_property, write_counterexample

NAME = "linear_prop_idx_7_eps_0.9900.vnnlib"


@pytest.fixture(scope="module")
def check() -> ModuleType:
    path = Path(__file__).parents[1] / "benchmarks" / "solver_check.py"
    spec = importlib.util.spec_from_file_location("solver_check", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def export(tmp_path: Path, linear: Network) -> Callable[[str], Path]:
    """A function that exports one instance of the toy network `linear` with a given status."""
    levels = np.full((1, *linear.input_shape), 128, dtype=np.uint8)
    pixels = levels.astype(np.float32) / np.float32(255)
    label = int(linear.judge(toys.HALF.to_network(pixels))[0].argmax())
    images = ImageSet(levels, np.array([label]), np.array([7]), "embedded", ("ape", "bee", "cat"), toys.HALF)
    box = Box.around(images.pixels, images.normalization, 0.99)  # all images: every class can win

    def write(status: str) -> Path:
        margins = {"attacked": (-1.0, None), "verified": (2.0, 1.0), "open": (1.0, -1.0)}[status]
        verdict = Verdict(
            image_id=images.ids[0],
            index=7,
            label=label,
            predicted=label,
            status=status,
            decided_by="by hand",
            natural_margin=3.0,
            attack_margin=margins[0],
            bound=margins[1],
            bound_method=None if margins[1] is None else "crown",
        )
        prop = make_property(images, 0, box, 3, "linear", 0.99)
        instance = Instance(prop, linear.path, 10, levels[0], verdict)
        export_benchmark([instance], tmp_path / status, manifest={})
        return tmp_path / status

    return write


@pytest.fixture
def points(linear: Network) -> dict[str, str]:
    """Counterexample texts: a corner of the box where another class wins, and the centre, where none does."""
    ends = np.array([-1, 1], dtype=np.float32)
    corners = np.stack(np.meshgrid(*[ends] * int(np.prod(linear.input_shape))), -1).reshape(-1, *linear.input_shape)
    centre = toys.HALF.to_network(np.full((1, *linear.input_shape), np.float32(128) / np.float32(255)))
    label = linear.judge(centre)[0].argmax()
    logits = linear.judge(corners)
    wins = int(np.flatnonzero(logits.argmax(1) != label)[0])
    return {
        "corner": write_counterexample(corners[wins], logits[wins]),
        "centre": write_counterexample(centre[0], logits[wins]),
    }


def solver(tmp_path: Path, text: str, *, file: bool = False) -> str:
    """Command of a solver that answers `text`, on standard output or in the results file."""
    (tmp_path / "answer.txt").write_text(text)
    line = "open(sys.argv[2], 'w').write(text)" if file else "print(text)"
    code = f"import sys; text = open(sys.argv[1]).read(); {line}"
    return shlex.join(
        [sys.executable, "-c", code, str(tmp_path / "answer.txt"), "{results}", "{property}", "{timeout}"]
    )


@pytest.mark.parametrize(
    ("status", "answer", "point", "code", "expected"),
    [
        ("open", "unsat", None, 0, "ok   .*: open here, unsat in"),
        ("open", "timed-out", None, 0, "open here, timeout in"),
        ("verified", "holds", None, 0, "verified here, unsat in"),
        ("attacked", "sat", "corner", 0, "correct: The point is inside the box"),
        ("open", "violated", "corner", 0, "open here, sat in"),
        ("verified", "sat", "corner", 1, "FAIL .*contradiction: The point is inside"),
        ("attacked", "unsat", None, 1, "FAIL .*contradiction: a counterexample is recorded"),
        ("attacked", "sat", "centre", 1, "FAIL .*wrong: .*still leads"),
        ("attacked", "sat", None, 1, "FAIL .*no values"),
        ("open", "Traceback", None, 1, "FAIL .*error in .*no answer"),
    ],
)
def test_answers(check, export, points, tmp_path, capsys, status, answer, point, code, expected):
    command = solver(tmp_path, answer + ("\n" + points[point] if point else ""), file=status == "open")
    for version in ("1.0", "2.0"):
        assert check.main([str(export(status)), command, "--version", version]) == code
        (line,) = capsys.readouterr().out.splitlines()
        assert NAME in line
        assert re.search(expected, line), line


def test_a_solver_that_does_not_end_is_ended(check, export, monkeypatch, capsys):
    monkeypatch.setattr(check, "GRACE", 0.2)
    command = shlex.join([sys.executable, "-c", "import time; time.sleep(60)"])
    assert check.main([str(export("open")), command, "--timeout", "0.3"]) == 0
    assert "open here, ended in" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("command", "more", "message"),
    [
        ("solver {onnx}", [], r"command: found .*onnx.*allowed: a program and \{network\}"),
        ("no-such-solver {property}", [], "command: found .*no-such-solver"),
        ("true", ["--only", "idx_8"], "--only: found .*idx_8"),
    ],
)
def test_bad_input(check, export, command, more, message):
    with pytest.raises(ParameterError, match=message):
        check.main([str(export("open")), command, *more])
