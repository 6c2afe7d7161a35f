"""Run a notebook without a screen: check its parameters, execute it with papermill, fail on any error.

papermill alone only warns of an unknown parameter, lets a notebook without a parameter cell overwrite what was
passed, and stays green when an exception ends inside an `ipywidgets.Output`. Here each of these is an error.
"""

from __future__ import annotations

import ast
import base64
import os
import re
from collections.abc import Iterable, Mapping
from html import escape
from pathlib import Path
from typing import Any

import nbformat
import papermill
from papermill.exceptions import PapermillException, PapermillExecutionError

from ..core import NotebookError, ParameterError, check_writable, require, root
from .kernel_manager import WakefulKernelManager

WIDGET_STATE = "application/vnd.jupyter.widget-state+json"
WIDGET_VIEW = "application/vnd.jupyter.widget-view+json"
_NO_ALT = "No description has been provided for this image"
REPORT_HIDDEN_TAG = "screen-only"
"""Cells with this tag need a front end; the HTML report leaves them out."""


_WORDS = re.compile(r"(?P<open>\[)?[\w./-]+(,[\w./-]+)*(?(open)\])")


def find_notebook(name: str | Path) -> Path:
    """Path of a notebook given as a path, or by its name in `notebooks/`.

    Raises:
        NotebookError: neither is there; the message lists the names.
    """
    folder = root() / "notebooks"
    for path in (Path(name), folder / f"{name}.ipynb"):
        if path.suffix == ".ipynb" and os.path.isfile(path):
            return path
    names = ", ".join(sorted(path.stem for path in folder.glob("*.ipynb")))
    raise NotebookError(f"notebook: found {str(name)!r}; allowed: a path ending in .ipynb, or one of {names}.")


def notebook_parameters(path: Path) -> dict[str, dict[str, Any]]:
    """Parameters of a notebook: name -> papermill's record with `inferred_type_name`, `default`, `help`.

    Raises:
        NotebookError: no notebook, no cell tagged `parameters`, or no Python kernel named.
    """
    try:
        notebook = nbformat.read(path, as_version=4)
    except Exception as error:  # nbformat raises half a dozen unrelated classes on broken JSON
        raise NotebookError(f"{path}: not readable as a notebook ({error}).") from None
    tagged = [cell for cell in notebook.cells if "parameters" in cell.metadata.get("tags", [])]
    if len(tagged) != 1:
        raise NotebookError(
            f"{path}: found {len(tagged)} cells tagged 'parameters'; allowed: exactly one, or values passed from "
            "outside would be overwritten. Tag the cell in JupyterLab's property inspector."
        )
    if notebook.metadata.get("kernelspec", {}).get("language") != "python":
        raise NotebookError(
            f"{path}: names no Python kernel; open it in JupyterLab, choose a Python 3 kernel and save it."
        )
    return dict(papermill.inspect_notebook(str(path)))


def parse_parameters(path: Path, pairs: Iterable[tuple[str, str]]) -> dict[str, Any]:
    """Values of `pairs` (name, text) as Python literals; a parameter declared `str` keeps its text.

    A list of words may come without quotation marks, which a shell and `make` would take away: `A,B` or `[A,B]`.

    Raises:
        ParameterError: a name the notebook does not have, or text that is no literal.
    """
    known = notebook_parameters(path)
    pairs = list(pairs)
    _refuse_unknown(path, known, (name for name, _ in pairs))
    values: dict[str, Any] = {}
    for name, text in pairs:
        kind = known[name]["inferred_type_name"]
        if kind in ("str", "Optional[str]"):
            values[name] = None if (kind, text) == ("Optional[str]", "None") else text
            continue
        try:
            values[name] = ast.literal_eval(text)
        except (ValueError, SyntaxError):
            is_list = kind.removeprefix("Optional[").startswith("list")
            if is_list and _WORDS.fullmatch(text):
                values[name] = text.strip("[]").split(",")
                continue
            words = ", or words with commas between" if is_list else ""
            raise ParameterError(f"{name}: found {text!r}; allowed: a literal of type {kind}{words}.") from None
    return values


def run_notebook(
    path: Path,
    parameters: Mapping[str, Any],
    out: Path,
    *,
    report: Path | None = None,
    pictures: Path | None = None,
) -> Path:
    """Execute the notebook at `path` and save it, outputs included, as `out`.

    Args:
        report: save it as an HTML file for readers too.
        pictures: save its pictures as PNG files in this folder too.

    The kernel starts in the notebook's own folder, as in JupyterLab. A failed run leaves nothing at `out`; what it had
    computed stands beside it as NAME.failed.ipynb.

    Raises:
        ParameterError: a parameter the notebook does not have, or of another type.
        NotebookError: a cell failed, openly or inside widget output; or a place is of the wrong kind, said at once.
        ExportError: a place cannot be written, said at once.
    """
    known = notebook_parameters(path)
    _refuse_unknown(path, known, parameters)
    for name, value in parameters.items():
        _check_type(name, value, known[name]["inferred_type_name"])
    _check_places(out, report, pictures)
    failed = out.with_suffix(".failed.ipynb")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        failed.unlink(missing_ok=True)
        papermill.execute_notebook(
            str(path),
            str(failed),
            parameters=dict(parameters),
            cwd=str(path.parent),
            kernel_name="python3",
            kernel_manager_class=WakefulKernelManager,
            progress_bar=True,
            log_output=False,
            extra_arguments=["--IPKernelApp.log_level=CRITICAL"],  # it speaks of every kernel on loopback
        )
    except PapermillExecutionError as error:
        raise NotebookError(
            f"{path.name}: cell {error.exec_count} failed with {error.ename}: {error.evalue} "
            f"(all cells up to it: {failed})"
        ) from None
    except (PapermillException, OSError) as error:
        raise NotebookError(f"{path.name}: could not be run into {out} ({error}).") from None
    executed = nbformat.read(failed, as_version=4)
    if hidden := hidden_errors(executed):
        first = hidden[0]
        raise NotebookError(
            f"{path.name}: {len(hidden)} error(s) inside widget output, the first {first['ename']}: {first['evalue']} "
            f"(whole run: {failed})"
        )
    os.replace(failed, out)
    if report is not None:
        write_report(executed, report, title=path.stem)
    if pictures is not None:
        save_pictures(executed, pictures)
    return out


def _check_places(out: Path, report: Path | None, pictures: Path | None) -> None:
    """Refuse, before the notebook runs, where its results could not be put."""
    for name, path in (("executed notebook", out), ("report", report), ("folder of pictures", pictures)):
        if path is None:
            continue
        kind = "a folder" if path is pictures else "a file"
        fits = not path.exists() or path.is_dir() == (path is pictures)
        require(fits and bool(path.name), name, str(path), f"{kind}, new or to be replaced", error=NotebookError)
        check_writable(path.parent)


def hidden_errors(notebook: nbformat.NotebookNode) -> list[Mapping[str, Any]]:
    """Errors that an `Output` widget caught, so that no cell failed."""
    state = notebook.metadata.get("widgets", {}).get(WIDGET_STATE, {}).get("state", {})
    outputs = (output for model in state.values() for output in model.get("state", {}).get("outputs", ()))
    return [output for output in outputs if output["output_type"] == "error"]


def write_report(notebook: nbformat.NotebookNode, report: Path, *, title: str) -> None:
    """Save an executed notebook as one HTML file for readers: no code, no progress bars, no widgets, pictures inside.

    Raises:
        NotebookError: the file cannot be written.
    """
    from nbconvert import HTMLExporter

    readable = nbformat.from_dict(notebook)
    readable.metadata.pop("widgets", None)
    hidden = {REPORT_HIDDEN_TAG, "parameters"}
    readable.cells = [cell for cell in readable.cells if not hidden & set(cell.metadata.get("tags", []))]
    for cell in readable.cells:
        cell.outputs = [output for output in cell.get("outputs", []) if _for_readers(output)]
    body, _ = HTMLExporter(
        exclude_input=True, exclude_input_prompt=True, exclude_output_prompt=True
    ).from_notebook_node(readable, resources={"metadata": {"name": title}})
    alts = iter(_alt_texts(readable))  # nbconvert's page template knows no alt texts
    body = re.sub(re.escape(_NO_ALT), lambda _: escape(next(alts), quote=True), body)
    partial = report.with_suffix(".partial")
    try:
        report.parent.mkdir(parents=True, exist_ok=True)
        partial.write_text(body, encoding="utf-8")
        os.replace(partial, report)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise NotebookError(f"{report}: the report cannot be written ({error}).") from None


def _alt_texts(notebook: nbformat.NotebookNode) -> list[str]:
    """Alt text of every PNG of an executed notebook, in its order."""
    outputs = (output for cell in notebook.cells for output in cell.get("outputs", []))
    pictures = (output for output in outputs if "image/png" in output.get("data", {}))
    return [output.get("metadata", {}).get("image/png", {}).get("alt", "a picture") for output in pictures]


def save_pictures(notebook: nbformat.NotebookNode, folder: Path) -> list[Path]:
    """Save every PNG of an executed notebook as `folder`/CELL-ID.png; a second picture of a cell gets -2, and so on.

    Raises:
        NotebookError: the folder cannot be written.
    """
    saved = []
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for cell in notebook.cells:
            pictures = [o.data["image/png"] for o in cell.get("outputs", []) if "image/png" in o.get("data", {})]
            for number, picture in enumerate(pictures, 1):
                path = folder / (f"{cell.id}.png" if number == 1 else f"{cell.id}-{number}.png")
                path.write_bytes(base64.b64decode(picture))
                saved.append(path)
    except OSError as error:
        raise NotebookError(f"{folder}: pictures cannot be written ({error}).") from None
    return saved


def _for_readers(output: Mapping[str, Any]) -> bool:
    if output["output_type"] == "stream":
        return output["name"] != "stderr"
    return WIDGET_VIEW not in output.get("data", {})


def _refuse_unknown(path: Path, known: Mapping[str, Any], names: Iterable[str]) -> None:
    if unknown := [name for name in names if name not in known]:
        raise ParameterError(
            f"{path.name}: no parameter {', '.join(map(repr, unknown))}; allowed: {', '.join(known)}. "
            f"`python -m nbutils notebook {path.stem} --list` explains each."
        )


_TYPES: dict[str, tuple[type, ...]] = {
    "int": (int,),
    "float": (float, int),
    "str": (str,),
    "bool": (bool,),
    "list": (list, tuple),
    "dict": (dict,),
}


def _check_type(name: str, value: object, declared: str) -> None:
    kind = declared.removeprefix("Optional[").removesuffix("]") if declared.startswith("Optional[") else declared
    if value is None and declared.startswith("Optional["):
        return
    expected = _TYPES.get(kind.split("[")[0])
    wrong_bool = isinstance(value, bool) and expected != (bool,)
    if expected is not None and (not isinstance(value, expected) or wrong_bool):
        raise ParameterError(f"{name}: found {value!r}; allowed: a value of type {declared}.")
