"""The benchmark notebook in a real JupyterLab page, driven by headless Chromium: run all, press a thumbnail, export."""

import json
import os
import shutil
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import nbformat
import pytest

ROOT = Path(__file__).resolve().parents[2]
TOKEN = "test"
FAST = {
    "EPS_255": "3.0", "STEPS": "5", "RESTARTS": "2", "METHOD": '"crown-ibp"', "METHODS": '["ibp", "crown-ibp"]',
    "LOOK_AT": "13", "RADII_IMAGES": "2", "COUNT": "1",
}  # fmt: skip

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(
        not (shutil.which("chromium") and shutil.which("chromedriver")),
        reason="needs chromium and chromedriver (apt-get install chromium chromium-driver)",
    ),
]


@pytest.fixture
def lab(tmp_path):
    """URL of a JupyterLab server whose folder holds a fast copy of the benchmark notebook."""
    notebook = nbformat.read(ROOT / "notebooks" / "benchmark.ipynb", as_version=4)
    (cell,) = [c for c in notebook.cells if "parameters" in c.metadata.get("tags", [])]
    fast = FAST | {"OUT_DIR": json.dumps(str(tmp_path / "exported"))}
    lines = cell.source.splitlines()
    for row, line in enumerate(lines):
        name = line.split(":")[0]
        if name in fast:
            lines[row] = line.split("=")[0] + f"= {fast[name]}"
    cell.source = "\n".join(lines)
    folder = tmp_path / "lab"
    folder.mkdir()
    nbformat.write(notebook, folder / "benchmark.ipynb")
    home = {name: str(tmp_path / name) for name in ("JUPYTER_CONFIG_DIR", "JUPYTER_RUNTIME_DIR", "JUPYTER_DATA_DIR")}
    settings = tmp_path / "settings" / "@jupyterlab" / "notebook-extension"
    settings.mkdir(parents=True)  # keep cells out of sight in the page
    (settings / "tracker.jupyterlab-settings").write_text(json.dumps({"windowingMode": "none"}))
    home["JUPYTERLAB_SETTINGS_DIR"] = str(tmp_path / "settings")
    server = subprocess.Popen(
        [sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root", "--port=0", "--ServerApp.ip=127.0.0.1",
         f"--IdentityProvider.token={TOKEN}", f"--ServerApp.root_dir={folder}", "--expose-app-in-browser",
         "--LabApp.news_url=None",
         "--ServerApp.log_level=ERROR"],
        env={**os.environ, **home}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        yield _url(Path(home["JUPYTER_RUNTIME_DIR"]), server)
    finally:
        server.terminate()
        server.wait(timeout=20)


def _url(runtime, server):
    for _ in range(300):
        assert server.poll() is None, "JupyterLab did not start"
        for path in runtime.glob("jpserver-*.json"):
            url = json.loads(path.read_text())["url"]
            try:
                urllib.request.urlopen(f"{url}api?token={TOKEN}", timeout=2)
                return url
            except OSError:
                break
        time.sleep(0.2)
    raise AssertionError("JupyterLab did not answer within a minute")


@pytest.fixture
def page(tmp_path):
    """A headless Chromium."""
    from selenium import webdriver
    from selenium.webdriver.chrome.options import Options
    from selenium.webdriver.chrome.service import Service

    options = Options()
    options.binary_location = shutil.which("chromium")
    for flag in (
        "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run",
        "--disable-sync",
        "--disable-background-networking", "--disable-component-update", "--window-size=1400,1500",
        f"--user-data-dir={tmp_path / 'chromium'}",
    ):  # fmt: skip
        options.add_argument(flag)
    browser = webdriver.Chrome(options=options, service=Service(shutil.which("chromedriver")))
    yield browser
    if folder := os.environ.get("SCREENSHOTS"):
        browser.save_screenshot(str(Path(folder) / "last.png"))
    browser.quit()


def test_choose_by_hand_and_export(lab, page, tmp_path):
    from selenium.webdriver.common.by import By
    from selenium.webdriver.support.ui import WebDriverWait

    wait = WebDriverWait(page, 240, poll_frequency=1, ignored_exceptions=(Exception,))

    def command(name):
        script = "window.jupyterapp.commands.execute(arguments[0])"  # no return: it would wait for the run
        page.execute_script(script, name)

    def go_to(cell):
        row = page.execute_script(
            "const notebook = window.jupyterapp.shell.currentWidget.content;"
            "const row = notebook.widgets.findIndex(widget => widget.model.sharedModel.getId() === arguments[0]);"
            "notebook.activeCellIndex = row; return row",
            cell,
        )
        assert row >= 0, f"no cell {cell}"

    def buttons():
        return page.find_elements(By.CSS_SELECTOR, "button.widget-toggle-button")

    def text():
        return page.find_element(By.CSS_SELECTOR, ".jp-Notebook").get_attribute("textContent")

    def started():
        prompts = page.find_elements(By.CSS_SELECTOR, ".jp-InputPrompt")
        return any(prompt.get_attribute("textContent").strip("[]: ") for prompt in prompts)

    page.get(f"{lab}lab/tree/benchmark.ipynb?token={TOKEN}")
    wait.until(lambda _: page.execute_script("return !!window.jupyterapp") and "robustness benchmark" in text())
    wait.until(lambda _: "| Idle" in page.find_element(By.TAG_NAME, "body").text)
    wait.until(lambda _: started() or command("notebook:run-all-cells"))  # the kernel may not listen yet
    wait.until(lambda _: (tmp_path / "exported" / "manifest.json").is_file())
    wait.until(lambda _: len(buttons()) >= 2)
    assert not page.find_elements(By.CSS_SELECTOR, "[data-mime-type='application/vnd.jupyter.stderr'] .ansi-red-fg")

    drawn = _exported(tmp_path)
    assert len(drawn) == 1
    other = next(b for b in buttons() if not b.get_attribute("class").count("mod-active"))
    page.execute_script("arguments[0].scrollIntoView({block: 'center'})", other)
    index = int(other.text.split(":")[0])
    other.click()
    expected = sorted([*drawn, index])
    wait.until(lambda _: f"2 of {len(buttons())} open images chosen: {', '.join(map(str, expected))}" in text())
    if folder := os.environ.get("SCREENSHOTS"):
        page.save_screenshot(str(Path(folder) / "chooser.png"))

    go_to("export")
    command("notebook:run-cell")
    wait.until(lambda _: _exported(tmp_path) == expected)


def _exported(folder):
    """True indices in the manifest of what the notebook's last cell wrote."""
    manifest = json.loads((folder / "exported" / "manifest.json").read_text())
    return sorted(entry["index"] for entry in manifest["instances"])
