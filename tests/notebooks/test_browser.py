"""The benchmark notebook in a real JupyterLab page, by headless Chromium: run all, choose in the panel, export."""

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
    """The panel's basket is the choice: an open image put in by a key is exported when the last cell runs again."""
    page.run_all()
    page.wait("the export of the last cell", (tmp_path / "exported" / "manifest.json").is_file)
    drawn = _exported(tmp_path)
    assert len(drawn) == 1
    page.until("the strip", "return document.querySelectorAll('.nb-tile').length === 20")
    tiles = "[...document.querySelectorAll('.nb-tile')]"
    chosen = page.browser.execute_script(
        f"return {tiles}.filter(t => t.querySelector('.nb-basket')).map(t => t.dataset.row)"
    )
    assert [int(row) for row in chosen] == drawn, "embedded images: the row is the index"
    other = page.browser.execute_script(
        f"return {tiles}.find(t => /open/.test(t.textContent) && !t.querySelector('.nb-basket')).dataset.row"
    )
    page.click(f"[data-row='{other}']")
    page.until("the image clicked", f"return document.body.textContent.includes('image {other}:')")
    page.keys(".nb-strip", " ")
    expected = sorted([*drawn, int(other)])
    page.until("a basket of two", "return /2 open go into/.test(document.body.textContent)", 30)

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
