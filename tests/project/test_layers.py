"""Data flows one way: the imports of every module are parsed and held against the order of the packages."""

import ast
import re
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[2] / "nbutils"

# A package imports only packages named before it, and only from their surface, the package itself.
ORDER = (
    "core", "properties", "images", "networks", "attacks", "bounds", "selection", "benchmark", "published", "training",
    "zoo", "analysis", "plots", "findings", "explore", "teaching", "notebook", "bench", "commands",
)  # fmt: skip

# Libraries that exactly these modules may import.
DOORS = {
    "auto_LiRPA": {"bounds/lirpa_import"},
    "ipywidgets": {"explore/controls", "explore/panel", "notebook/sliders"},
    "anywidget": {"explore/picture"},
    "papermill": {"notebook/runner"},
    "nbconvert": {"notebook/runner"},
    "jupyter_client": {"notebook/kernel_manager"},
    "IPython": {"notebook/display", "notebook/sliders"},
    "torchvision": {"images/datasets"},
    "onnx2torch": {"networks/making_twins"},
    "vnnlib": {"benchmark/text_check"},
    "dask": {"selection/cluster"},
    "distributed": {"selection/cluster"},
}

MODULES = sorted(path for path in PACKAGE.rglob("*.py") if path.parent != PACKAGE)


def name(path: Path) -> str:
    """`package/module` of a file."""
    return path.relative_to(PACKAGE).with_suffix("").as_posix()


def imports(path: Path) -> tuple[set[str], set[str], set[str]]:
    """(modules of its own package, dotted names of other packages, outside libraries) that a file imports anywhere."""
    siblings, packages, foreign = set(), set(), set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            foreign |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            foreign.add(str(node.module).split(".")[0])
        elif isinstance(node, ast.ImportFrom) and node.level == 1:
            siblings |= {node.module.split(".")[0]} if node.module else {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            packages |= {node.module} if node.module else {alias.name for alias in node.names}
    return siblings, packages - {"__version__"}, foreign


def surface(package: str) -> str:
    """Text of the file that says what a package offers."""
    return (PACKAGE / package / "__init__.pyi").read_text(encoding="utf-8")


def test_every_package_has_its_place():
    found = {path.parent.relative_to(PACKAGE).parts[0] for path in MODULES}
    assert found == set(ORDER)


@pytest.mark.parametrize("package", ORDER)
def test_imports_point_one_way_and_to_surfaces(package):
    before = ORDER[: ORDER.index(package)]
    for path in (path for path in MODULES if path.parent.name == package):
        for other in imports(path)[1]:
            assert other in before, f"{name(path)} imports {other}; allowed: the surface of {', '.join(before)}"


@pytest.mark.parametrize("package", ORDER)
def test_no_cycle_inside_a_package(package):
    known = {path.stem: imports(path)[0] for path in MODULES if path.parent.name == package and path.stem[0] != "_"}
    graph = {module: others & known.keys() for module, others in known.items()}
    while free := [module for module, others in graph.items() if not others]:
        graph = {module: others - set(free) for module, others in graph.items() if others}
    assert not graph, f"these import each other: {sorted(graph)}"


def test_attacks_and_bounds_do_not_know_each_other():
    for package, other in (("attacks", "bounds"), ("bounds", "attacks")):
        assert not [name(path) for path in MODULES if path.parent.name == package and other in imports(path)[1]]


@pytest.mark.parametrize("library", DOORS)
def test_each_library_has_its_door(library):
    users = {name(path) for path in MODULES if library in imports(path)[2]}
    assert users == DOORS[library]


def test_only_notebooks_import_widgets():
    assert not [name(path) for path in MODULES if "widgets" in imports(path)[0]]


@pytest.mark.parametrize("package", [package for package in ORDER if package != "commands"])
def test_a_surface_is_short(package):
    assert len(surface(package).splitlines()) <= 40


@pytest.mark.parametrize("package", [package for package in ORDER if package != "commands"])
def test_no_name_of_a_surface_is_a_module_too(package):
    """A module would take the place of the name once it is imported."""
    modules = {path.stem for path in MODULES if path.parent.name == package}
    names = re.findall(r"^from \.\w+ import \(?((?:.|\n)*?)(?=^from|\Z|\))", surface(package), re.MULTILINE)
    assert not modules & set(re.findall(r"(\w+) as", " ".join(names)))
