"""Data flows one way: the imports of every module are parsed and held against the order of the design."""

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / "nbutils"

# A module imports only modules named before it: data flows from the top to the bottom of this list.
ORDER = (
    "errors", "plain_json", "plain_text", "randomness", "config", "records",
    "margins",
    "sexpr", "vnnlib_read", "recover", "published_lists",
    "pictures", "download", "datasets", "archives", "own_images", "property_images", "images",
    "onnx_files", "opsets", "graph_start", "figures", "cards", "zoo", "zoo_tables", "twins", "networks", "assumed",
    "resnets",
    "vnnlib", "counterexamples", "readback",
    "manifest", "staging", "export", "written", "audit", "inspection",
    "published_files", "published", "published_report",
    "attack", "strong", "_lirpa", "_rows", "relu_graph", "crops", "composed", "affine", "_engine", "bounds",
    "ledger", "funnel", "second_stage", "scale", "selection",
    "selected", "selected_read", "swap", "generation", "regeneration", "evaluate", "zoo_sample", "training",
    "slices", "radii",
    "plots", "findings", "findings_training", "zoo_findings", "session",
    "bench", "bench_funnel",
    "display", "widgets",
    "kernels", "runner",
    "commands", "__main__",
)  # fmt: skip

# Libraries that exactly these modules may import.
DOORS = {
    "auto_LiRPA": {"_lirpa"},
    "ipywidgets": {"widgets"},
    "papermill": {"runner"},
    "jupyter_client": {"kernels"},
    "torchvision": {"datasets", "images"},
    "onnx2torch": {"networks"},
    "IPython": {"display"},
    "nbconvert": {"runner"},
    "vnnlib": {"readback"},
    "dask": {"scale"},
    "distributed": {"scale"},
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


def test_every_module_has_its_place():
    assert sorted({owner(path) for path in MODULES}) == sorted(ORDER)


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.stem)
def test_imports_point_one_way(path):
    own, _ = imports(path)
    mine = ORDER.index(owner(path))
    later = {other for other in own - {owner(path), "__version__"} if ORDER.index(other) > mine}
    assert not later, f"{owner(path)} must not import {sorted(later)}, which come after it"


def test_attack_and_bounds_do_not_know_each_other():
    attacks, bounds = {"attack", "strong"}, {"bounds", "_engine", "affine", "composed", "_rows", "_lirpa"}
    for name in attacks | bounds:
        forbidden = bounds if name in attacks else attacks
        assert not forbidden & imports(PACKAGE / f"{name}.py")[0], name


@pytest.mark.parametrize("library", DOORS)
def test_each_library_has_its_door(library):
    users = {owner(path) for path in MODULES if library in imports(path)[1]}
    assert users <= DOORS[library], f"{library} is imported by {users - DOORS[library]}"


def test_only_notebooks_import_widgets():
    assert not [owner(path) for path in MODULES if "widgets" in imports(path)[0]]
