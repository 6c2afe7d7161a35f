"""The book builds without a warning, fetches nothing from outside, and finds words without a server."""

from __future__ import annotations

import importlib.util
import re
import sys
from pathlib import Path

import pytest
from lab import Page, chromium, needs_chromium

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The site made of notebooks as they are in git: without outputs, so that nothing has to be run here."""
    spec = importlib.util.spec_from_file_location("build_book", ROOT / "docs" / "book" / "build.py")
    build = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(build)
    build.executed = lambda name, parameters, kept: ROOT / "notebooks" / f"{name}.ipynb"
    out = tmp_path_factory.mktemp("book")
    kept, sys.argv = sys.argv, ["build.py", str(out)]
    try:
        assert build.main() == 0, "warnings are errors"
    finally:
        sys.argv = kept
    return out / "html"


def test_every_part_is_there(site):
    pages = {path.relative_to(site).as_posix() for path in site.rglob("*.html")}
    assert {"index.html", "teaching.html", "notebooks/lesson_2_pgd.html", "notebooks/model_zoo.html"} <= pages
    assert sum(page.startswith("api/") for page in pages) == len(list((ROOT / "nbutils").glob("*/__init__.py")))
    bounds = (site / "api" / "06_bounds.html").read_text(encoding="utf-8")
    assert "Lower bounds of all class margins" in bounds


def test_nothing_is_fetched_from_outside(site):
    for path in site.rglob("*.html"):
        text = path.read_text(encoding="utf-8")
        fetched = re.findall(r"<(?:script|img|link|iframe)[^>]+(?:src|href)=\"(https?://[^\"]+)", text)
        assert fetched == [], path


@needs_chromium
@pytest.mark.browser
def test_search_works_from_the_disk(site, tmp_path):
    with chromium(tmp_path) as browser:
        page = Page(browser)
        for name in ("index.html", "notebooks/lesson_3_bounds.html", "search.html?q=counterexample"):
            browser.get(f"{site.as_uri()}/{name}")
            page.until("the page", "return document.readyState === 'complete'")
        page.until("results", "return document.querySelectorAll('#search-results li').length > 3", 30)
        formula = "return !!document.querySelector('mjx-container')"
        browser.get(f"{site.as_uri()}/notebooks/lesson_3_bounds.html")
        page.until("formulas drawn without a network connection", formula, 60)
        assert page.errors() == []
