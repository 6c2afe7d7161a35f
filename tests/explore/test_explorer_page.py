"""The explorer in a real JupyterLab page: everything a hand can do, and no error in the console."""

from __future__ import annotations

import json
import random
from pathlib import Path

import nbformat
import pytest
from lab import Notebook, Page, chromium, needs_chromium, server, voila

ROOT = Path(__file__).resolve().parents[2]

pytestmark = [pytest.mark.browser, needs_chromium]


OF_VOILA = ("cdnjs.cloudflare.com", "fontawesome", "No satisfying version")
"""Of the newest voila itself: icons that its template fetches, and modules of JupyterLab 4.2 that it brings along."""

OF_NOTEBOOK = "(reading 'schema')"
"""Of Notebook 7.6 itself, at its start, whatever it opens."""


def prepared(tmp_path):
    """`explore.ipynb` with a shorter attack, an export below `tmp_path`, and no cells for a run without a screen."""
    notebook = nbformat.read(ROOT / "notebooks" / "explore.ipynb", as_version=4)
    for cell in notebook.cells:
        if "parameters" in cell.metadata.get("tags", []):
            out = json.dumps(str(tmp_path / "exported"))
            cell.source = cell.source.replace('"vnnlib/explored"', out).replace("= 100  #", "= 40  #")
    notebook.cells = [cell for cell in notebook.cells if "figure" not in cell.metadata.get("tags", [])]
    (tmp_path / "lab").mkdir()
    nbformat.write(notebook, tmp_path / "lab" / "explore.ipynb")
    return tmp_path / "lab" / "explore.ipynb"


@pytest.fixture
def page(tmp_path):
    prepared(tmp_path)
    with server(tmp_path / "lab", tmp_path) as address, chromium(tmp_path) as browser:
        yield Notebook(browser, address, "explore.ipynb")


def test_everything_a_hand_can_do(page, tmp_path):
    page.run_all()
    page.until("the strip", "return document.querySelectorAll('.nb-tile').length === 20")
    page.until("bounds of the first image", "return document.querySelectorAll('[data-method=crown-ibp]').length > 0")

    for width in (1100, 1400):  # with the file browser open, which takes 290 pixels of it
        page.browser.set_window_size(width, 900)
        page.until(f"nothing cut off at {width} pixels", f"{ROLLING}.length === 0")

    page.click("[data-row='17']")
    page.until("the image clicked", "return document.body.textContent.includes('image 17:')")
    page.keys(".nb-strip", "\ue014")  # arrow to the right
    page.until("the next image", "return document.body.textContent.includes('image 18:')")
    page.keys(".nb-strip", "\ue012")
    page.until("the image before", "return document.body.textContent.includes('image 17:')")

    page.keys(".nb-strip", "a")
    page.until("an attack with its slider", "return !!document.querySelector('.nb-slider')")
    page.click(".widget-tab .lm-TabBar-tab", 1)
    script = (
        "const s = [...document.querySelectorAll('.nb-slider')].find(e => e.offsetParent); s.value = 3;"
        "s.dispatchEvent(new Event('input')); return s.parentElement.querySelector('g[data-step]').dataset.step === '3'"
    )
    page.until("step 3 of the replay", script)

    plane = "return !![...document.querySelectorAll('.nb-plane')].find(e => e.getBoundingClientRect().width > 0)"
    page.until("the plane beside the trajectories", plane, 60)
    page.keys(".nb-strip", ".")

    page.click(".widget-tab .lm-TabBar-tab", 0)
    page.click("[data-rival]", 1)
    page.until("the rival followed", "return !!document.querySelector('.nb-follow')")
    page.press("Bound")
    page.until("CROWN", "return !!document.querySelector('[data-method=crown]')", 60)
    bars = "return [...document.querySelectorAll('[data-method=crown]')].map(e => e.dataset.bound).length"
    assert page.browser.execute_script(bars) >= 10

    page.press("Settle all")
    page.until(
        "an open image", "return [...document.querySelectorAll('.nb-status')].some(e => /open/.test(e.textContent))"
    )
    unsettled = "[...document.querySelectorAll('.nb-status')].some(e => e.textContent === 'not settled')"
    page.until("all verdicts", f"return !{unsettled}", 180)
    page.press("In the basket")
    page.until("a full basket", "return /1 open go into/.test(document.body.textContent)")
    page.press("Preview")
    preview = "return [...document.querySelectorAll('textarea')].some(t => t.value.includes('manifest.json'))"
    page.until("the files an export would write", preview)
    page.press("Export")
    page.wait("the files", (tmp_path / "exported" / "manifest.json").is_file)
    rows = (tmp_path / "exported" / "1.0" / "instances.csv").read_text().splitlines()
    assert len(rows) == 1
    assert "_idx_17_" in rows[0]

    choose = "const s = document.querySelectorAll('select'); s[arguments[0]].value = arguments[1];" \
        "s[arguments[0]].dispatchEvent(new Event('change', {bubbles: true})); return true"  # fmt: skip
    status = (
        "return [...document.querySelectorAll('select')].findIndex(s => [...s.options].some(o => o.text === 'open'))"
    )
    page.browser.execute_script(choose, page.browser.execute_script(status), "open")
    page.until("only open images", "return document.querySelectorAll('.nb-tile').length === 4")
    compare = (
        "return [...document.querySelectorAll('select')].findIndex(s => [...s.options].some(o => o.text === 'none'))"
    )
    page.browser.execute_script(choose, page.browser.execute_script(compare), "CIFAR100_resnet_medium")
    page.until(
        "two ladders",
        "return document.querySelector('.nb-root:has([data-rival])').querySelectorAll('svg').length === 2",
        60,
    )
    assert page.errors() == []


ROLLING = (
    "return [...document.querySelectorAll('.nb-explorer, .nb-explorer *')]"
    ".filter(e => e.getBoundingClientRect().width > 0 && /auto|scroll/.test(getComputedStyle(e).overflowX))"
    ".filter(e => e.scrollWidth > e.clientWidth + 1).map(e => e.className)"
)
"""What of the explorer has to be rolled sideways to be seen."""


PICK = (
    "const s = document.querySelectorAll('select'); const n = [...s].findIndex(e => [...e.options]"
    ".some(o => o.text === arguments[0])); s[n].value = arguments[0];"
    "s[n].dispatchEvent(new Event('change', {bubbles: true})); return true"
)
"""Choose an option by its text, in the first list that has it."""


BUSY = (
    "window.jupyterapp.shell.currentWidget.sessionContext.session.kernel"
    ".requestExecute({code: 'import time; time.sleep(8)'})"
)
"""Keep the kernel from answering for a while."""


def test_fifty_hands_at_random_and_a_cancelled_crown(page):
    """Seeded clicks and keys; then CROWN on the large network, ended by a button, and the page still answers."""
    page.run_all()
    page.until("the strip", "return document.querySelectorAll('.nb-tile').length === 20")
    rng = random.Random(3)
    tile = 0
    for _ in range(50):
        act = rng.choice(["tile", "tile", "a", "b", "c", " ", "[", "]", ",", ".", "?", "tab"])
        if act == "tile":
            tile = rng.randrange(20)
            page.click(f"[data-row='{tile}']")
        elif act == "tab":
            page.click(".widget-tab .lm-TabBar-tab", rng.randrange(6))
        else:
            page.keys(".nb-strip", act)
    page.press("Cancel")
    page.until("the last image clicked", f"return document.body.textContent.includes('image {tile}:')", 60)
    page.browser.execute_script(PICK, "CIFAR100_resnet_large")
    page.press("Bound")
    page.until("CROWN at work", "return /running: crown, .*layer/.test(document.body.textContent)", 120)
    page.press("Cancel")
    page.until("an end of it", "return !/running: crown/.test(document.body.textContent)", 20)
    page.click("[data-row='3']")
    page.until("the page to answer", "return document.body.textContent.includes('image 3:')", 60)
    eps = float(page.browser.execute_script("return /at ([0-9.]+)\\/255, closest/.exec(document.body.textContent)[1]"))
    page.browser.execute_script(BUSY)
    page.click("[data-row='5']")
    key, wanted = ("[", eps - 0.5) if eps > 1 else ("]", eps + 0.5)
    page.keys(".nb-strip", key)
    page.keys(".nb-strip", key)
    page.until("the click made while the kernel was busy", "return document.body.textContent.includes('image 5:')", 60)
    page.until("both keys", f"return document.body.textContent.includes('at {wanted:g}/255, closest')", 60)
    assert page.errors() == []


def test_the_same_page_in_notebook_7(tmp_path):
    """Its shortcuts hear a key before the page does: `a` inserted a cell in the place of an attack."""
    prepared(tmp_path)
    with server(tmp_path / "lab", tmp_path, "notebook") as address, chromium(tmp_path) as browser:
        page = Notebook(browser, address, "explore.ipynb", "notebooks")
        page.run_all()
        page.until("the strip", "return document.querySelectorAll('.nb-tile').length === 20")
        count = "return document.querySelectorAll('.jp-Cell').length"
        cells = browser.execute_script(count)
        page.click("[data-row='17']")
        page.until("the image clicked", "return document.body.textContent.includes('image 17:')")
        page.keys(".nb-strip", "a")
        page.until("an attack with its slider", "return !!document.querySelector('.nb-slider')")
        page.keys(".nb-strip", "\ue014")  # arrow to the right
        page.until("the next image", "return document.body.textContent.includes('image 18:')")
        assert browser.execute_script(count) == cells
        assert [line for line in page.errors() if OF_NOTEBOOK not in line] == []


def test_the_same_page_under_voila(tmp_path):
    with voila(prepared(tmp_path), tmp_path) as address, chromium(tmp_path) as browser:
        browser.get(address)
        page = Page(browser)
        page.until("the strip", "return document.querySelectorAll('.nb-tile').length === 20", 240)
        page.click("[data-row='17']")
        page.until("the image clicked", "return document.body.textContent.includes('image 17:')")
        page.press("Attack")
        page.until("an attack with its slider", "return !!document.querySelector('.nb-slider')")
        found = [line for line in page.errors() if not any(place in line for place in OF_VOILA)]
        assert found == []
