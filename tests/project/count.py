"""Counts that tell how easy this tree is to find one's way in; `python tests/project/count.py` prints them.

Lines are those of a file, blank ones and docstrings included. A public name is a function, class, method or property
without a leading underscore.
"""

from __future__ import annotations

import ast
import statistics
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]


def modules(folder: str) -> list[Path]:
    """Python files below `folder` of the checkout."""
    return sorted((ROOT / folder).rglob("*.py"))


def lines(path: Path) -> int:
    """Lines of a file."""
    return len(path.read_text(encoding="utf-8").splitlines())


def undocumented(path: Path) -> Iterator[str]:
    """Public functions, classes and methods of a module that have no docstring; overloads of Protocols aside."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    for node in tree.body:
        if not isinstance(node, kinds) or node.name.startswith("_"):
            continue
        if ast.get_docstring(node) is None:
            yield f"{path.relative_to(ROOT)}: {node.name}"
        if isinstance(node, ast.ClassDef) and not any("Protocol" in ast.unparse(base) for base in node.bases):
            for part in node.body:
                ours = isinstance(part, kinds) and part.name != "forward" and not part.name.startswith("_")
                if ours and ast.get_docstring(part) is None:
                    yield f"{path.relative_to(ROOT)}: {node.name}.{part.name}"


def largest(paths: list[Path]) -> str:
    """The longest of `paths`, with its lines."""
    path = max(paths, key=lines)
    return f"{lines(path)} ({path.relative_to(ROOT)})"


def main() -> None:
    """Print the counts."""
    code, tests = modules("nbutils"), [path for path in modules("tests") if path.name.startswith("test_")]
    inner = [path for path in code if path.name != "__init__.py"]
    packages = sorted(path.parent for path in code if path.name == "__init__.py" and path.parent.name != "nbutils")
    surfaces = [lines(path) for path in sorted((ROOT / "nbutils").rglob("__init__.py*"))]
    missing = [name for path in inner for name in undocumented(path)]
    sizes = [lines(path) for path in inner]
    print(f"packages                          {len(packages)}")
    print(f"modules                           {len(inner)}")
    print(f"median lines of a module          {statistics.median(sizes):.0f}")
    print(f"modules above 250 lines           {sum(size > 250 for size in sizes)}")
    print(f"largest module                    {largest(inner)}")
    print(f"largest surface (__init__)        {max(surfaces)}")
    print(f"test files                        {len(tests)}")
    print(f"largest test file                 {largest(tests)}")
    print(f"public names without a docstring  {len(missing)}")
    for name in missing:
        print(f"  {name}")
    print(f"lines of README.md                {lines(ROOT / 'README.md')}")


if __name__ == "__main__":
    main()
