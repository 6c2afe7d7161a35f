"""A real JupyterLab on loopback and a headless Chromium on it, for tests and for pictures of the screen."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

TOKEN = "t" * 32
NOISE = ("favicon", "ResizeObserver", "service-worker", "was preloaded using link preload")
PANEL = """
const panel = [...window.jupyterapp.shell.widgets('main')].find(w => w.context && w.context.path.endsWith('.ipynb'));
"""

needs_chromium = pytest.mark.skipif(
    not (shutil.which("chromium") and shutil.which("chromedriver")), reason="no Chromium with chromedriver"
)


def _places(home: Path) -> dict[str, str]:
    """Environment that keeps Jupyter's files below `home`."""
    return {f"JUPYTER_{name}_DIR": str(home / name.lower()) for name in ("CONFIG", "DATA", "RUNTIME")}


@contextlib.contextmanager
def server(folder: Path, home: Path, app: str = "jupyterlab") -> Iterator[str]:
    """Address of a JupyterLab (or of Notebook 7, "notebook") that serves `folder` and keeps its files in `home`."""
    places = _places(home) | {"IPYTHONDIR": str(home / "ipython"), "JUPYTERLAB_SETTINGS_DIR": str(home / "settings")}
    words = [
        sys.executable, "-m", app, "--no-browser", "--allow-root", "--port=0", "--ServerApp.ip=127.0.0.1",
        f"--IdentityProvider.token={TOKEN}", f"--ServerApp.root_dir={folder}", "--expose-app-in-browser",
        "--LabApp.news_url=None", "--ServerApp.log_level=ERROR",
    ]  # fmt: skip
    quiet = home / "settings" / "@jupyterlab" / "apputils-extension"
    quiet.mkdir(parents=True, exist_ok=True)
    said = {"fetchNews": "false", "checkForUpdates": False, "doNotDisturbMode": True}
    (quiet / "notification.jupyterlab-settings").write_text(json.dumps(said))
    log = (home / "server.log").open("wb")
    running = subprocess.Popen(words, env={**os.environ, **places}, stdout=log, stderr=log)
    try:
        yield _address(home / "runtime", running)
    finally:
        running.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            running.wait(timeout=20)
        running.kill()
        log.close()


def _address(runtime: Path, running: subprocess.Popen) -> str:
    for _ in range(450):
        assert running.poll() is None, "JupyterLab did not start"
        for path in runtime.glob("jpserver-*.json"):
            with contextlib.suppress(OSError, json.JSONDecodeError):  # it may be half written, or not listen yet
                url = json.loads(path.read_text())["url"]
                urllib.request.urlopen(f"{url}api?token={TOKEN}", timeout=2)
                return url
        time.sleep(0.2)
    raise AssertionError("JupyterLab did not answer within 90 seconds")


@contextlib.contextmanager
def voila(notebook: Path, home: Path) -> Iterator[str]:
    """Address of a page that voila makes of `notebook`, its files in `home`."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    words = [
        sys.executable, "-m", "voila", str(notebook), "--no-browser", f"--port={port}", "--template=lab",
        "--VoilaConfiguration.extension_denylist=@jupyter-notebook/lab-extension",  # as in the Makefile
    ]  # fmt: skip
    log = (home / "voila.log").open("wb")
    running = subprocess.Popen(words, env={**os.environ, **_places(home)}, stdout=log, stderr=log)
    try:
        for _ in range(450):
            assert running.poll() is None, "voila did not start"
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
                break
            time.sleep(0.2)
        yield f"http://127.0.0.1:{port}/"
    finally:
        running.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            running.wait(timeout=20)
        running.kill()
        log.close()


@contextlib.contextmanager
def chromium(folder: Path, size: str = "1400,900") -> Iterator[Any]:
    """A headless Chromium that keeps its profile in `folder`."""
    from selenium import webdriver
    from selenium.webdriver.chrome.options import Options
    from selenium.webdriver.chrome.service import Service

    options = Options()
    options.binary_location = shutil.which("chromium")
    for flag in (
        "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run",
        "--disable-sync",
        "--disable-background-networking", "--disable-component-update", f"--window-size={size}",
        f"--user-data-dir={folder / 'chromium'}",
    ):  # fmt: skip
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    browser = webdriver.Chrome(options=options, service=Service(shutil.which("chromedriver")))
    try:
        yield browser
    finally:
        browser.quit()


class Page:
    """A page in a browser, and what a hand does there."""

    def __init__(self, browser: Any) -> None:
        self.browser = browser

    def until(self, what: str, script: str, seconds: float = 120, *arguments: object) -> Any:
        """Wait until `script` returns something true, and return it; the step that hung is named."""
        return self.wait(what, lambda: self.browser.execute_script(script, *arguments), seconds)

    def wait(self, what: str, found: Callable[[], Any], seconds: float = 120) -> Any:
        """Wait until `found()` is true, and return what it gives."""
        end, last = time.monotonic() + seconds, ""
        while time.monotonic() < end:
            try:
                if value := found():
                    return value
            except Exception as error:
                last = f" ({type(error).__name__}: {error})"[:300]
            time.sleep(0.1)
        raise AssertionError(f"waited {seconds:.0f} seconds for {what}{last}")

    def click(self, selector: str, number: int = 0) -> None:
        """A real click on an element."""

        def act(element: Any) -> None:
            self.browser.execute_script("arguments[0].scrollIntoView({block: 'center'})", element)
            element.click()

        self._on(selector, number, act)

    def keys(self, selector: str, text: str) -> None:
        """Type into an element."""
        self._on(selector, 0, lambda element: element.send_keys(text))

    def _on(self, selector: str, number: int, act: Callable[[Any], object]) -> None:
        """Do something with an element; pictures are drawn anew at any moment, so one that went is looked for again."""
        from selenium.common.exceptions import ElementNotInteractableException, StaleElementReferenceException
        from selenium.webdriver.common.by import By

        for last in (False, False, False, False, True):
            try:
                act(self.browser.find_elements(By.CSS_SELECTOR, selector)[number])
            except (ElementNotInteractableException, StaleElementReferenceException, IndexError):
                if last:
                    raise
                time.sleep(0.2)
            else:
                return

    def press(self, text: str) -> None:
        """Press the button that says `text`."""
        self.until(
            f"button {text}",
            "const all = [...document.querySelectorAll('button.jupyter-button')];"
            "const b = all.find(b => b.textContent.trim() === arguments[0]); if (b) b.click(); return !!b",
            10,
            text,
        )

    def text(self, selector: str) -> str:
        """Text of the first element that fits."""
        script = "return document.querySelector(arguments[0])?.textContent || ''"
        return str(self.browser.execute_script(script, selector))

    def errors(self) -> list[str]:
        """Errors of the browser's console so far, and warnings of widgets that do not belong together."""
        lines = [entry["message"] for entry in self.browser.get_log("browser") if entry["level"] == "SEVERE"
                 or "No satisfying version" in entry["message"]]  # fmt: skip
        return [line for line in lines if not any(word in line for word in NOISE)]


class Notebook(Page):
    """One notebook opened in a page of JupyterLab ("lab/tree") or of Notebook 7 ("notebooks")."""

    def __init__(self, browser: Any, address: str, path: str, place: str = "lab/tree") -> None:
        super().__init__(browser)
        browser.get(f"{address}{place}/{path}?token={TOKEN}")
        self.until("the app", "return !!window.jupyterapp")
        self.until("the notebook", PANEL + "return !!(panel && panel.content && panel.content.widgets.length > 1)")
        self.until("a kernel", PANEL + "return panel.sessionContext.session?.kernel?.status === 'idle'")
        # headless, the document has no focus, and JupyterLab no current widget without it: one real click gives both
        self.click(".jp-Notebook .jp-Cell")

    def run_all(self, seconds: float = 240) -> None:
        """Run every cell and wait until the kernel is idle and no cell waits."""
        self.browser.execute_script("window.jupyterapp.commands.execute('notebook:run-all-cells')")
        self.until(
            "every cell to have run",
            PANEL
            + "const code = panel.content.widgets.filter(c => c.model.type === 'code' && c.model.sharedModel.source);"
            "return code.every(c => c.model.executionCount > 0)"
            " && panel.sessionContext.session.kernel.status === 'idle'",
            seconds,
        )
