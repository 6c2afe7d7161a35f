"""Data flows one way: the imports of every module are parsed and held against the order of the design."""

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / "nbutils"

# Every layer may import the layers above it, and modules of its own layer may not import each other unless they share
# a line of SAME. Modules not named here belong to the layer of their package or are found by the test below.
LAYERS = (
    ("errors",),
    ("randomness",),
    ("config",),
    ("records",),
    ("margins", "images", "networks", "resnets", "vnnlib"),
    ("attack", "bounds", "ledger", "export"),
    ("funnel", "selection", "slices", "radii"),
    ("session", "plots", "findings"),
    ("widgets", "runner"),
    ("commands",),
    ("__main__",),
)

# Implementation modules that only their owner (and each other) may import.
PRIVATE = {
    "_lirpa": {"bounds", "training"},
    "_onnx_checks": {"networks", "cards", "twins"},
}

# Libraries that exactly these modules may import.
DOORS = {
    "auto_LiRPA": {"_lirpa"},
    "ipywidgets": {"widgets"},
    "papermill": {"runner"},
    "torchvision": {"datasets", "images"},
    "onnx2torch": {"networks", "twins"},
}

MODULES = sorted(path for path in PACKAGE.rglob("*.py") if path.name != "__init__.py")


def owner(path):
    """Module name as the layers know it: packages count as one."""
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imports(path):
    """(own modules, foreign packages) that a file imports, at any depth."""
    own, foreign = set(), set()
    depth = len(path.relative_to(PACKAGE).parts)
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            foreign |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            foreign.add(node.module.split(".")[0])
        elif isinstance(node, ast.ImportFrom) and node.level == depth:
            own |= {node.module.split(".")[0]} if node.module else {alias.name for alias in node.names}
    return own, foreign


def level(name):
    return next((number for number, layer in enumerate(LAYERS) if name in layer), None)


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.stem)
def test_imports_point_one_way(path):
    own, _ = imports(path)
    mine = level(owner(path))
    for other in own - {owner(path), "__version__"}:
        theirs = level(other)
        if mine is not None and theirs is not None:
            assert theirs < mine or {owner(path), other} in SAME, f"{owner(path)} must not import {other}"


SAME = ({"selection", "funnel"},)


def test_attack_and_bounds_do_not_know_each_other():
    assert "bounds" not in imports(PACKAGE / "attack.py")[0]
    assert not {"attack", "strong"} & imports(PACKAGE / "bounds.py")[0]


@pytest.mark.parametrize("library", DOORS)
def test_each_library_has_its_door(library):
    users = {owner(path) for path in MODULES if library in imports(path)[1]}
    assert users <= DOORS[library], f"{library} is imported by {users - DOORS[library]}"


@pytest.mark.parametrize("module", PRIVATE)
def test_private_modules_stay_private(module):
    users = {owner(path) for path in MODULES if module in imports(path)[0]}
    assert users <= PRIVATE[module] | {module}, f"{module} is imported by {users - PRIVATE[module]}"


def test_only_notebooks_import_widgets():
    assert not [owner(path) for path in MODULES if "widgets" in imports(path)[0]]
