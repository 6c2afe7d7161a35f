"""The benchmark notebook in a real JupyterLab page, driven by headless Chromium: run all, press a thumbnail, export."""

import json
from pathlib import Path

import nbformat
import pytest
from lab import PANEL, Notebook, chromium, needs_chromium, server

ROOT = Path(__file__).resolve().parents[2]
FAST = {
    "EPS_255": "3.0", "STEPS": "5", "RESTARTS": "2", "METHOD": '"crown-ibp"', "METHODS": '["ibp", "crown-ibp"]',
    "LOOK_AT": "13", "RADII_IMAGES": "2", "COUNT": "1",
}  # fmt: skip

pytestmark = [pytest.mark.browser, needs_chromium]


@pytest.fixture
def page(tmp_path):
    """A fast copy of the benchmark notebook in a page of JupyterLab."""
    notebook = nbformat.read(ROOT / "notebooks" / "benchmark.ipynb", as_version=4)
    (cell,) = [c for c in notebook.cells if "parameters" in c.metadata.get("tags", [])]
    fast = FAST | {"OUT_DIR": json.dumps(str(tmp_path / "exported"))}
    lines = cell.source.splitlines()
    for row, line in enumerate(lines):
        name = line.split(":")[0]
        if name in fast:
            lines[row] = line.split("=")[0] + f"= {fast[name]}"
    cell.source = "\n".join(lines)
    (tmp_path / "lab").mkdir()
    nbformat.write(notebook, tmp_path / "lab" / "benchmark.ipynb")
    with server(tmp_path / "lab", tmp_path) as address, chromium(tmp_path, "1400,1500") as browser:
        yield Notebook(browser, address, "benchmark.ipynb")


def test_choose_by_hand_and_export(page, tmp_path):
    page.run_all()
    page.wait("the export of the last cell", (tmp_path / "exported" / "manifest.json").is_file)
    buttons = "[...document.querySelectorAll('button.widget-toggle-button')]"
    count = page.until("the open images", f"const n = {buttons}.length; return n >= 2 ? n : 0")

    drawn = _exported(tmp_path)
    assert len(drawn) == 1
    other = f"const b = {buttons}.find(b => !b.classList.contains('mod-active')); b.click(); return b.textContent"
    index = int(page.browser.execute_script(other).split(":")[0])
    expected = sorted([*drawn, index])
    said = f"2 of {count} open images chosen: {', '.join(map(str, expected))}"
    page.until(
        "the choice", "return document.querySelector('.jp-Notebook').textContent.includes(arguments[0])", 30, said
    )

    row = (
        PANEL
        + "const n = panel.content; const row = n.widgets.findIndex(w => w.model.sharedModel.getId() === 'export');"
    )
    assert page.browser.execute_script(row + "n.activeCellIndex = row; return row") >= 0
    page.browser.execute_script("window.jupyterapp.commands.execute('notebook:run-cell')")
    page.wait("the second export", lambda: _exported(tmp_path) == expected)
    assert page.errors() == []


def _exported(folder):
    """True indices in the manifest of what the notebook's last cell wrote."""
    manifest = json.loads((folder / "exported" / "manifest.json").read_text())
    return sorted(entry["index"] for entry in manifest["instances"])
