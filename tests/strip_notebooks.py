"""Remove outputs, execution counts and a front end's notes from notebooks: python tests/strip_notebooks.py FILE...

Tags, ids and everything else stay as they are. Exit code 1 where a file was changed, as pre-commit expects.
"""

from __future__ import annotations

import sys
from pathlib import Path

import nbformat

KEPT = {"tags"}


def strip(path: Path) -> bool:
    """Strip one notebook; whether it was changed."""
    notebook = nbformat.read(path, as_version=4)
    before = nbformat.writes(notebook)
    notebook.metadata.pop("widgets", None)
    for cell in notebook.cells:
        cell.metadata = nbformat.from_dict({name: value for name, value in cell.metadata.items() if name in KEPT})
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    if nbformat.writes(notebook) == before:
        return False
    path.write_text(nbformat.writes(notebook) + "\n", encoding="utf-8")
    return True


if __name__ == "__main__":
    sys.exit(int(sum(strip(Path(name)) for name in sys.argv[1:]) > 0))
