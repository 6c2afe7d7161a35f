"""Build the book: run the notebooks, put pages, notebooks and reference side by side, let Sphinx make one static site.

    python docs/book/build.py OUT [--keep]

OUT/html is the site, to be opened from the disk or served; nothing in it is fetched from outside. Warnings are errors,
so a link that leads nowhere ends the build. `--keep` takes notebooks that an earlier build of OUT has run, if they
have not changed since.
"""

from __future__ import annotations

import argparse
import ast
import hashlib
import os
import shutil
from pathlib import Path

import nbformat
from sphinx.cmd.build import build_main

from nbutils.notebook import run_notebook

ROOT = Path(__file__).resolve().parents[2]
NOTEBOOKS: dict[str, dict[str, object]] = {
    "lesson_1_margins": {},
    "lesson_2_pgd": {},
    "lesson_3_bounds": {},
    "lesson_4_gap": {},
    "benchmark": {"COUNT": 3, "LOOK_AT": 17, "RADII_IMAGES": 4, "OUT_DIR": "runs/book/benchmark"},
    "inspect_property": {},
    "model_zoo": {"COUNT": 4, "NOT_MEASURED": ["CIFAR100_resnet_large", "CIFAR100_resnet_super"]},
}
"""What is run, and the parameters that differ from a notebook's own."""


def executed(name: str, parameters: dict[str, object], kept: Path) -> Path:
    """The notebook after a run; one that is in `kept` already, of the same source and parameters, is not run again."""
    source = ROOT / "notebooks" / f"{name}.ipynb"
    key = hashlib.sha256(source.read_bytes() + repr(parameters).encode()).hexdigest()[:16]
    path = kept / f"{name}.{key}.ipynb"
    if not path.exists():
        print(f"running {name}", flush=True)
        kept.mkdir(parents=True, exist_ok=True)
        run_notebook(source, parameters, path)
    return path


def for_page(path: Path) -> nbformat.NotebookNode:
    """An executed notebook as a page: no set-up cells, no progress bars, no widgets, pictures with their text."""
    notebook = nbformat.read(path, as_version=4)
    notebook.metadata.pop("widgets", None)
    for cell in notebook.cells:
        tags = set(cell.metadata.get("tags", []))
        if cell.cell_type != "code":
            continue
        if tags & {"setup", "parameters", "injected-parameters"}:
            cell.metadata["tags"] = [*tags, "hide-input"]
        cell.outputs = [o for o in cell.outputs if o.get("name") != "stderr" and not _is_widget(o)]
        alts = [
            o.metadata.get("image/png", {}).get("alt", "") for o in cell.outputs if "image/png" in o.get("data", {})
        ]
        if any(alts):
            cell.metadata["mystnb"] = {"image": {"alt": " ".join(filter(None, alts)).replace("\n", " ")}}
    return notebook


def _is_widget(output: nbformat.NotebookNode) -> bool:
    return any("widget" in kind for kind in output.get("data", {}))


def reference(folder: Path) -> None:
    """One page a package, from its docstrings, in the order of the work."""
    folder.mkdir(parents=True)
    order = ast.parse((ROOT / "tests" / "project" / "test_layers.py").read_text(encoding="utf-8"))
    packages = next(
        ast.literal_eval(node.value)
        for node in order.body
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "ORDER"
    )
    for number, package in enumerate(packages, 1):
        title = f"nbutils.{package}"
        text = f"{title}\n{'=' * len(title)}\n\n.. automodule:: {title}\n   :members:\n   :imported-members:\n"
        (folder / f"{number:02d}_{package}.rst").write_text(text, encoding="utf-8")


def main() -> int:
    """Build; returns Sphinx's exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--keep", action="store_true", help="take unchanged notebooks of an earlier build as they are")
    args = parser.parse_args()
    kept, source = args.out / "executed", args.out / "source"
    if not args.keep:
        shutil.rmtree(kept, ignore_errors=True)
    shutil.rmtree(source, ignore_errors=True)
    shutil.copytree(ROOT / "docs", source, ignore=shutil.ignore_patterns("book"))
    for name in ("conf.py", "index.md"):
        shutil.copy(ROOT / "docs" / "book" / name, source)
    shutil.copytree(ROOT / "notebooks" / "pictures", source / "notebooks" / "pictures")
    for name, parameters in NOTEBOOKS.items():
        notebook = for_page(executed(name, parameters, kept))
        nbformat.write(notebook, source / "notebooks" / f"{name}.ipynb")
    reference(source / "api")
    os.environ.setdefault("PYTHONHASHSEED", "0")
    options = ["-W", "--keep-going", "-q", "-E", "-d", str(args.out / "doctrees")]
    code = build_main([*options, str(source), str(args.out / "html")])
    if code == 0:
        print(f"open {args.out / 'html' / 'index.html'}")
    return code


if __name__ == "__main__":
    raise SystemExit(main())
