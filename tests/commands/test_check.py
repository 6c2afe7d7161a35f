"""`check`: the verdict of a counterexample and its exit code, and what is refused."""

from __future__ import annotations

import gzip
import re
from pathlib import Path

import numpy as np
import pytest
import toys

from nbutils.__main__ import main
from nbutils.core import Box, Property
from nbutils.properties import write_counterexample, write_text

# toys.linear_net: logits (2p - r + 1, q, p - 3s + 1/2). In the box of half-width 0.25 around 0, label 0:
# m2 = p - r + 3s + 1/2 is -0.75 at p = -0.25, r = 0.25, s = -0.25 and 0.5 at 0.
BROKEN = np.float32([[[-0.25, 0], [0.25, -0.25]]])
HELD = np.zeros((1, 2, 2), dtype=np.float32)


@pytest.fixture
def files(tmp_path: Path) -> dict[str, str]:
    """Paths of a network and of a property about it, label 0."""
    box = Box.around(np.full((1, 1, 2, 2), 0.5, dtype=np.float32), toys.HALF, 0.125)
    assert box.upper.max() == 0.25
    prop = Property(box.lower.ravel(), box.upper.ravel(), 0, 3, (1, 2, 2), "p.vnnlib")
    (tmp_path / "p.vnnlib").write_text(write_text(prop))
    (tmp_path / "p2.vnnlib.gz").write_bytes(gzip.compress(write_text(prop, "2.0").encode()))
    network = toys.linear_net(tmp_path)
    names = {"network": network, "p": tmp_path / "p.vnnlib", "p2": tmp_path / "p2.vnnlib.gz", "c": tmp_path / "c.txt"}
    return {name: str(path) for name, path in names.items()}


def check(files: dict[str, str], point: np.ndarray, *, version: str = "1.0", prop: str = "p") -> int:
    Path(files["c"]).write_text(write_counterexample(point, np.zeros(3, dtype=np.float32), version))
    return main(["check", files["network"], files[prop], files["c"]])


@pytest.mark.parametrize("version", ["1.0", "2.0"])
@pytest.mark.parametrize("prop", ["p", "p2"])
@pytest.mark.parametrize(
    ("point", "code", "verdict", "reason"),
    [
        (BROKEN, 0, "correct", "inside the box; class 2 is level with or ahead of label 0, margin -0.75"),
        (BROKEN * np.float32(1.0002), 0, "correct_with_tolerance", "5.*e-05 outside the box"),
        (BROKEN * np.float32(1.01), 1, "wrong", "0.0025 outside the box"),
        (HELD, 1, "wrong", "inside the box; label 0 still leads, margin 0.5"),
    ],
)
def test_verdicts(files, point, code, verdict, reason, version, prop, capsys) -> None:
    assert check(files, point, version=version, prop=prop) == code
    first, second = capsys.readouterr().out.splitlines()
    assert first == verdict
    assert re.search(reason, second), second


def test_what_the_solver_says_of_the_outputs_is_ignored(files, capsys) -> None:
    Path(files["c"]).write_text(write_counterexample(HELD, np.float32([-9, 9, 9])))
    assert main(["check", files["network"], files["p"], files["c"]]) == 1
    assert capsys.readouterr().out.startswith("wrong\n")


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        ({"network": "nowhere"}, "network: found 'nowhere'; allowed: a network in"),
        ({"p": "nowhere.vnnlib"}, "nowhere.vnnlib"),
        ({"c": "nowhere.txt"}, "nowhere.txt"),
        ({"p": "{c}"}, r"c.txt"),
        ({"c": "{p}"}, r"p.vnnlib, line"),
        ({"network": "{p}"}, r"p.vnnlib"),
    ],
)
def test_bad_input_is_one_line(files, damage, message, capsys) -> None:
    Path(files["c"]).write_text(write_counterexample(HELD, np.zeros(3, dtype=np.float32)))
    given = {**files, **{name: path.format(**files) for name, path in damage.items()}}
    assert main(["check", given["network"], given["p"], given["c"]]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("nbutils check: ")
    assert re.search(message, line), line


def test_a_property_of_another_network(files, tmp_path, capsys) -> None:
    two = Property(-np.ones(4, dtype=np.float32), np.ones(4, dtype=np.float32), 0, 2, (1, 2, 2), "two.vnnlib")
    (tmp_path / "two.vnnlib").write_text(write_text(two))
    assert main(["check", files["network"], str(tmp_path / "two.vnnlib"), files["c"]]) == 2
    assert "two.vnnlib: found '2 outputs'; allowed: 3. The property was made for another" in capsys.readouterr().err
    small = Property(-np.ones(3, dtype=np.float32), np.ones(3, dtype=np.float32), 0, 3, (1, 1, 3), "small.vnnlib")
    (tmp_path / "small.vnnlib").write_text(write_text(small))
    assert main(["check", files["network"], str(tmp_path / "small.vnnlib"), files["c"]]) == 2
    assert "small.vnnlib" in capsys.readouterr().err
