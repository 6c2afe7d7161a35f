"""The pins agree with each other, and the pinned releases are the ones that run."""

import re
from importlib import metadata
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]


def pins(lines):
    found = (re.match(r"^\s*-?\s*([A-Za-z0-9_.-]+)==([^\s#]+)", line) for line in lines)
    return {match[1].lower().replace("_", "-"): match[2] for match in found if match}


def pins_of(name):
    return pins((ROOT / name).read_text(encoding="utf-8").splitlines())


def test_conda_and_pip_pin_the_same_releases():
    conda = yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf-8"))
    (pip,) = [entry["pip"] for entry in conda["dependencies"] if isinstance(entry, dict)]
    assert pins(pip) == pins_of("requirements.txt")
    assert "python=3.11" in conda["dependencies"]


def test_constraints_hold_every_direct_pin():
    constraints = pins_of("constraints.txt")
    assert {name: constraints.get(name) for name in pins_of("requirements.txt")} == pins_of("requirements.txt")


@pytest.mark.parametrize("name", ["requirements.txt", "requirements-no-deps.txt"])
def test_installed_releases_are_the_pinned_ones(name):
    wanted = pins_of(name)
    assert wanted
    assert {package: metadata.version(package).split("+")[0] for package in wanted} == wanted


def test_every_dependency_says_what_needs_it():
    for name in ("requirements.txt", "requirements-no-deps.txt"):
        lines = (ROOT / name).read_text(encoding="utf-8").splitlines()
        bare = [line for line in lines if "==" in line and not line.startswith("#") and " # " not in line]
        assert not bare, f"{name}: no purpose given for {bare}"


def test_data_folders_are_no_packages():
    assert not (ROOT / "onnx" / "__init__.py").exists(), "`import onnx` would find the folder"
    assert not (ROOT / "vnnlib" / "__init__.py").exists(), "`import vnnlib` would find the folder"
