"""The students' edition of the lessons: the same notebooks without the cells that are tagged `solution`."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import BinaryIO

from ..core import root, write_atomically


def lessons() -> list[Path]:
    """The lessons in notebooks/, in order."""
    return sorted((root() / "notebooks").glob("lesson_*.ipynb"))


def _put(text: bytes, file: BinaryIO) -> None:
    file.write(text)


def write_handout(out: Path) -> list[Path]:
    """Write `out`/student and `out`/solved, a notebook each for every lesson; returns the files.

    Raises:
        ExportError: when a file cannot be written.
    """
    import nbformat

    written = []
    for path in lessons():
        notebook = nbformat.read(path, as_version=4)
        for folder in ("solved", "student"):
            if folder == "student":
                notebook.cells = [c for c in notebook.cells if "solution" not in c.metadata.get("tags", [])]
            text = (nbformat.writes(notebook) + "\n").encode()
            target = out / folder / path.name
            write_atomically(target, partial(_put, text))
            written.append(target)
    return written
