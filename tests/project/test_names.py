"""What comments and docstrings name in backticks is there: a module that was renamed is renamed in words too."""

import ast
import re
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "nbutils"
MODULES = sorted(PACKAGE.rglob("*.py"))
NAMED = re.compile(r"`([a-z_][a-z0-9_]*)(?:\.(\w+)[\w.]*)?[`(]")
LIBRARIES = {"torch", "torchvision", "numpy", "sys", "papermill", "ipywidgets"}
FILES = {"py", "csv", "json", "jsonl", "pt", "sqlite", "strong"}
ANSWERS = {"unsat"}  # of a solver


@cache
def known(path: Path) -> frozenset[str]:
    """Names that the code of a module has, and the words of its texts (choices, keys, messages) but for docstrings."""
    found: set[str] = set()
    nodes = list(ast.walk(ast.parse(path.read_text(encoding="utf-8"))))
    docstrings = [node.value for node in nodes if isinstance(node, ast.Expr)]
    for node in nodes:
        if isinstance(node, ast.Name):
            found.add(node.id)
        elif isinstance(node, ast.Attribute):
            found.add(node.attr)
        elif isinstance(node, ast.FunctionDef | ast.ClassDef):
            found.add(node.name)
        elif isinstance(node, ast.arg | ast.keyword):
            found.add(node.arg or "")
        elif isinstance(node, ast.alias):
            found |= {*node.name.split("."), node.asname or ""}
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and node not in docstrings:
            found |= set(re.findall(r"\w+", node.value))
    return frozenset(found)


@cache
def inside() -> dict[str, frozenset[str]]:
    """Names in each module, and in each package (its surface and its modules)."""
    found: dict[str, frozenset[str]] = {}
    for path in MODULES:
        names = known(path)
        if path.stem == "__init__":
            surface = path.with_suffix(".pyi")
            names |= set(re.findall(r"\w+", surface.read_text(encoding="utf-8")) if surface.exists() else [])
            names |= {module.stem for module in path.parent.glob("*.py")}
        stem = path.parent.name if path.stem == "__init__" else path.stem
        found[stem] = found.get(stem, frozenset()) | names
    return found


@cache
def anywhere() -> frozenset[str]:
    """What a name without a dot may be: anything in the code, a module, a notebook."""
    notebooks = {notebook.stem for notebook in (ROOT / "notebooks").glob("*.ipynb")}
    return frozenset().union(*inside().values(), inside(), notebooks, ANSWERS)


def missing(text: str, path: Path) -> list[str]:
    """Names in backticks in `text`, of the module at `path`, that lead nowhere."""
    lost = []
    for first, second in NAMED.findall(text):
        found = second in inside().get(first, ()) or first in known(path) | LIBRARIES or second in FILES
        if not (found if second else first in anywhere()):
            lost.append(f"{first}.{second}" if second else first)
    return lost


def test_what_is_named_is_there():
    lost = {str(path.relative_to(ROOT)): missing(path.read_text(encoding="utf-8"), path) for path in MODULES}
    assert {path: names for path, names in lost.items() if names} == {}


def test_a_name_that_is_gone_is_found():
    path = PACKAGE / "selection" / "funnel.py"
    text = "as `cluster.dask_engine`, not `scale.dask_engine`, nor `cluster.gone` or `published_lists`, but `settle`"
    assert missing(text, path) == ["scale.dask_engine", "cluster.gone", "published_lists"]
