"""Pictures of the explorer's screen: python tests/render_explorer.py OUT. Needs Chromium with chromedriver.

Every tab, light and dark, in two sizes; `explorer.png`, the picture at the head of the README; `explorer.gif`, a short
recording of an attack.
"""

from __future__ import annotations

import io
import shutil
import sys
import tempfile
import time
from pathlib import Path

from lab import Notebook, chromium, server
from PIL import Image
from selenium.webdriver.common.by import By

ROOT = Path(__file__).resolve().parents[1]
TABS = ("margins", "pgd", "bounds", "image", "set", "all")
SIZES = ((1400, 900), (1100, 700))
BARE = """
const style = document.createElement('style');
style.textContent = '.jp-Cell-inputWrapper, .jp-OutputPrompt, #jp-top-panel, #jp-menu-panel, .jp-SideBar, .jp-Toolbar,'
  + '#jp-bottom-panel, .jp-Collapser, .lm-DockPanel-tabBar {display: none !important}';
document.head.append(style);
"""
SEEN = "document.querySelector('.nb-strip').closest('.jp-Cell').scrollIntoView()"
THEME = "window.jupyterapp.commands.execute('apputils:change-theme', {theme: arguments[0]})"
REPLAY = """
const slider = document.querySelector('.nb-slider');
slider.value = arguments[0];
slider.dispatchEvent(new Event('input'));
"""


def main(out: Path) -> None:
    """Write all pictures into `out`."""
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as name:
        home = Path(name)
        (home / "notebooks").mkdir()
        shutil.copy(ROOT / "notebooks" / "explore.ipynb", home / "notebooks")
        with server(home / "notebooks", home) as address, chromium(home) as browser:
            page = Notebook(browser, address, "explore.ipynb")
            page.run_all()
            page.until("the strip", "return document.querySelectorAll('.nb-tile').length > 5")
            browser.execute_script("window.jupyterapp.shell.collapseLeft()")
            browser.execute_script(BARE)
            page.press("Settle all")
            unsettled = "[...document.querySelectorAll('.nb-status')].some(e => e.textContent === 'not settled')"
            page.until("the verdicts", f"return !{unsettled}", 240)
            page.click("[data-row='17']")
            page.until("image 17", "return document.body.textContent.includes('image 17:')")
            browser.execute_script(SEEN)
            record(page, out / "explorer.gif")
            page.press("Radius curve")
            page.until("the curve", "return !!document.querySelector('[data-band]')", 100)
            browser.set_window_size(1400, 1010)
            page.click(".widget-tab .lm-TabBar-tab", TABS.index("all"))
            browser.execute_script(SEEN)
            time.sleep(1)
            Image.open(io.BytesIO(seen(page))).convert("RGB").quantize(256).save(out / "explorer.png", optimize=True)
            for width, height in SIZES:
                browser.set_window_size(width, height)
                for theme in ("Light", "Dark"):
                    browser.execute_script(THEME, f"JupyterLab {theme}")
                    time.sleep(1.5)
                    for number, tab in enumerate(TABS):
                        browser.execute_script(SEEN)
                        page.click(".widget-tab .lm-TabBar-tab", number)
                        browser.execute_script(SEEN)
                        time.sleep(0.5)
                        browser.save_screenshot(str(out / f"{tab}-{theme.lower()}-{width}.png"))
            print("\n".join(page.errors()) or "no error in the console")


def seen(page: Notebook) -> bytes:
    """The explorer alone, as a PNG."""
    return page.browser.find_element(By.CSS_SELECTOR, ".nb-explorer").screenshot_as_png


def shot(page: Notebook) -> Image.Image:
    """One frame of the recording, 900 pixels wide."""
    whole = Image.open(io.BytesIO(seen(page))).convert("RGB")
    return whole.resize((900, 900 * whole.height // whole.width))


def record(page: Notebook, path: Path) -> None:
    """Bounds close in on the ladder, an attack runs, and its first steps are replayed."""
    frames = [shot(page)] * 6
    page.press("Bound")
    while not page.browser.execute_script("return !!document.querySelector('[data-method=crown]')"):
        frames.append(shot(page))
    frames += [shot(page)] * 8
    page.click(".widget-tab .lm-TabBar-tab", TABS.index("pgd"))
    page.press("Attack")
    while not page.browser.execute_script("return !!document.querySelector('.nb-plane')"):
        frames.append(shot(page))
    frames += [shot(page)] * 4
    for step in [*range(16), 20, 30, 50, 100]:
        page.browser.execute_script(REPLAY, step)
        frames.append(shot(page))
    frames += [frames[-1]] * 8
    low = min(frame.height for frame in frames)
    palette = [frame.crop((0, 0, 900, low)).quantize(96) for frame in frames]
    palette[0].save(path, save_all=True, append_images=palette[1:], duration=220, loop=0, optimize=True)
    page.click(".widget-tab .lm-TabBar-tab", 0)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
