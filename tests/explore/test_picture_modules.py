"""The browser's side alone, without a kernel: a module draws the numbers of its view and reports what is touched."""

from __future__ import annotations

import copy
import io
import shutil
from typing import Any

import numpy as np
import pytest
from lab import chromium, needs_chromium
from picture_page import write_page
from PIL import Image

from nbutils import load_images
from nbutils.core import ImageSet
from nbutils.explore import Desk, Panel
from nbutils.explore.picture import PICTURES, module
from nbutils.explore.strip import Sheets
from nbutils.explore.views import strip_view

pytestmark = [pytest.mark.browser, needs_chromium]


@pytest.fixture(scope="module")
def views(small_network):
    """Views of a panel on which everything was computed."""
    panel = Panel(Desk(small_network, load_images("embedded").take(range(14, 20)), steps=8, restarts=3))
    panel.choose(3)
    for work in (panel.attack, lambda: panel.bound("crown"), panel.settle):
        work()
    panel.jobs.wait(180)
    panel.desk.curves[panel.desk.place()] = panel.desk.session().radius_curve(3, (0.5, 1.0, 2.0))
    panel.show()
    panel.jobs.wait(60)
    panel.close()
    return {name: copy.deepcopy(panel.pictures[name].view) for name in PICTURES}


@pytest.fixture(scope="module")
def colours():
    """1,000 images of 56 x 56 whose middle has one colour each, and noise around it: 6 MB as a PNG."""
    rng = np.random.default_rng(0)
    levels = rng.integers(0, 256, (1000, 3, 56, 56), dtype=np.uint8)
    levels[:, :, 12:44, 12:44] = rng.integers(0, 256, (1000, 3, 1, 1), dtype=np.uint8)
    return levels


@pytest.fixture(scope="module")
def page(views, tmp_path_factory):
    """A browser on a page with all pictures."""
    folder = tmp_path_factory.mktemp("page")
    with chromium(folder) as browser:
        browser.get(write_page(folder / "page.html", views).as_uri())
        yield browser


def ask(page: Any, script: str, *arguments: object) -> Any:
    """What `script` returns in the page."""
    return page.execute_script(script, *arguments)


def errors(page: Any) -> list[str]:
    return [entry["message"] for entry in page.get_log("browser") if entry["level"] == "SEVERE"]


def test_every_view_is_ready_and_drawn_without_an_error(page, views):
    for name in PICTURES:
        assert views[name]["state"] == "ready", name
        assert ask(page, "return document.querySelector(`#${arguments[0]} .nb-root`).dataset.state", name) == "ready"
        text = ask(page, "return document.querySelector(`#${arguments[0]} .nb-root`).getAttribute('aria-label')", name)
        assert text, "a picture has its finding in words"
    assert errors(page) == []


@pytest.mark.parametrize("width", [340, 900])
def test_text_keeps_its_size_in_a_narrow_and_in_a_wide_place(page, views, width):
    """A picture is drawn anew at the width of its place, not blown up or shrunk; what it shows stays inside."""
    names = ("ladder", "trajectories", "radius", "layers", "set")
    loose = copy.deepcopy(views["ladder"])
    loose["data"]["limits"] = [-52000.0, 2000.0]  # of intervals alone: long numbers at the axis
    loose["data"]["rungs"][1]["name"] = "European fire salamander"  # the longest of TinyImageNet
    ask(page, "models.ladder.set('view', arguments[0])", loose)
    for name in names:
        ask(page, "document.getElementById(arguments[0]).style.width = `${arguments[1]}px`", name, width)
    script = """
    const done = arguments[arguments.length - 1];
    const right = (part) => part.getBoundingClientRect().right;
    const apart = (drawn) => {
      const ticks = [...drawn.querySelectorAll('.nb-tick')].map((tick) => tick.getBoundingClientRect());
      const room = (tick, n) => (tick.top === ticks[n].top ? tick.left - ticks[n].right : 99);
      return Math.min(99, ...ticks.slice(1).map(room));
    };
    const measured = (drawn) => {
      const titles = [...drawn.querySelectorAll('.nb-title')], box = drawn.getBoundingClientRect();
      const left = [...drawn.querySelectorAll('text')].map((text) => text.getBoundingClientRect().left - box.left);
      return [drawn.closest('[id]').id, box.width, drawn.viewBox.baseVal.width,
        Math.min(...left, ...titles.map((title) => box.right - right(title))), apart(drawn)];
    };
    const look = () => done([...document.querySelectorAll('.nb-svg')].map(measured));
    requestAnimationFrame(() => requestAnimationFrame(look));
    """
    found = [row for row in page.execute_async_script(script) if row[0] in names]
    assert {row[0] for row in found} == set(names)
    for name, shown, drawn, inside, apart in found:
        assert shown == pytest.approx(drawn, rel=0.02), name
        assert inside > -1, f"a title or a name of {name} is cut off"
        assert apart > 3, f"two numbers at the axis of {name} touch"
    ask(page, "models.ladder.set('view', arguments[0])", views["ladder"])
    for name in names:
        ask(page, "document.getElementById(arguments[0]).style.width = '700px'", name)


def test_ladder(page, views):
    data = views["ladder"]["data"]
    script = (
        "return [...document.querySelectorAll(`#ladder [data-method='${arguments[0]}']`)].map(e => e.dataset.bound)"
    )
    for number, method in enumerate(data["methods"]):
        bounds = [rung["lower"][number] for rung in data["rungs"]]
        assert [float(value) for value in ask(page, script, method)] == pytest.approx(bounds)
    ask(page, "document.querySelectorAll('#ladder [data-rival]')[1].dispatchEvent(new Event('click'))")
    picked = ask(page, "return models.ladder.saved.at(-1)")
    assert picked["rival"] == data["rungs"][1]["rival"]


def test_a_bar_that_is_cut_says_so(page, views):
    assert ask(page, "return document.querySelectorAll('#ladder .nb-cut').length") == sum(
        bound < views["ladder"]["data"]["limits"][0]
        for rung in views["ladder"]["data"]["rungs"]
        for bound in rung["lower"]
    )
    far = copy.deepcopy(views["ladder"])
    for rung in far["data"]["rungs"]:
        rung["lower"] = [-1e6, None, *rung["lower"][2:]]
    ask(page, "models.ladder.set('view', arguments[0])", far)
    rungs = len(far["data"]["rungs"])
    assert ask(page, "return document.querySelectorAll('#ladder .nb-cut').length") >= 2 * rungs
    assert "goes on to the left" in ask(page, "return document.querySelector('#ladder .nb-legend').textContent")
    ask(page, "models.ladder.set('view', arguments[0])", views["ladder"])


def test_trajectories_and_plane_replay_together(page, views):
    data = views["trajectories"]["data"]
    scrub = "const s = document.querySelector('#trajectories .nb-slider'); s.value = arguments[0];" \
        "s.dispatchEvent(new Event('input'));"  # fmt: skip
    said = "return [...document.querySelectorAll('#trajectories .nb-curve .nb-text')].map(e => e.textContent).join('|')"
    for step in (0, 3, 8):
        ask(page, scrub, step)
        assert f"step {step}: lowest {'+' if data['best'][step] >= 0 else chr(0x2212)}" in ask(page, said)
        assert f"{abs(data['best'][step]):.2f}" in ask(page, said)
        assert ask(page, "return models.trajectories.saved.at(-1).step") == step
        walked = ask(page, "return document.querySelector('#trajectories .nb-plane g[data-step]').dataset.step")
        assert int(walked) == step
    ask(page, "models.trajectories.set('step', 2)")
    assert "step 2: " in ask(page, said)
    for _ in range(5):  # drawn anew, as while an attack runs: one listener stays
        ask(page, "models.trajectories.set('view', { ...models.trajectories.get('view') })")
    assert ask(page, "return models.trajectories.heard['change:step'].length") == 1
    lit = "return [...document.querySelectorAll('#trajectories .nb-lit')].map(e => e.dataset.restart)"
    over = "document.querySelectorAll('#trajectories .nb-curve [data-restart]')[1]" \
        ".dispatchEvent(new Event('pointerover', { bubbles: true }))"  # fmt: skip
    ask(page, over)
    assert ask(page, lit) == ["1", "1", "1"], "the line, the path and its end"


def test_layers(page, views):
    data = views["layers"]["data"]
    values = [
        float(v) for v in ask(page, "return [...document.querySelectorAll('#layers circle')].map(e => e.dataset.value)")
    ]
    wanted = [v for field in ("width", "unstable") for method in data[field] for v in data[field][method]]
    assert values == pytest.approx(wanted)


def test_radius(page, views):
    count = ask(page, "return document.querySelectorAll('#radius circle, #radius path').length")
    assert count >= len(views["radius"]["data"]["lower"])


def test_a_bound_far_below_leaves_the_frame_of_the_radius_curve(page, views):
    """It was drawn as a flat line at the lower edge, as if that were its value."""
    far = copy.deepcopy(views["radius"])
    low = far["data"]["limits"][0]
    far["data"]["lower"] = {"crown": [low / 2, 30 * low, None]}  # a null is a bound of minus infinity
    ask(page, "models.radius.set('view', arguments[0])", far)
    script = (
        "const path = document.querySelector('#radius [data-method=crown]'), frame = path.closest('svg');"
        "return [path.getAttribute('d'), frame.getAttribute('height'), getComputedStyle(frame).overflow]"
    )
    path, height, overflow = ask(page, script)
    points = [float(point.split(",")[1]) for point in path.replace("M", "L").split("L")[1:]]
    assert points[1] - points[0] > float(height)
    assert points[2] - points[0] > float(height)
    assert overflow == "hidden"
    ask(page, "models.radius.set('view', arguments[0])", views["radius"])


def test_strip_and_keys(page, views):
    tiles = views["strip"]["data"]["tiles"]
    words = ask(page, "return [...document.querySelectorAll('#strip .nb-status')].map(e => e.textContent)")
    assert [word.split(" ", 1)[1] for word in words] == [tile["status"] for tile in tiles], "a mark and a word"
    ask(page, "document.querySelector(\"#strip [data-row='5']\").click()")
    assert ask(page, "return models.strip.saved.at(-1).row") == 5
    press = (
        "document.querySelector('#strip .nb-strip').dispatchEvent(new KeyboardEvent('keydown', { key: arguments[0] }))"
    )
    for key in ("a", "b", "c", " ", "[", "]", ",", ".", "?"):
        ask(page, press, key)
        assert ask(page, "return models.strip.saved.at(-1).key") == key
    ask(page, press, "ArrowRight")
    assert ask(page, "return models.strip.saved.at(-1).row") == 4, "from image 3"


def test_a_thousand_thumbnails_are_seen(colours, views, tmp_path):
    """A style that holds more than 2 MB is dropped by Chromium: the strip was empty from 700 CIFAR images on."""
    images = ImageSet(colours, np.arange(1000), np.arange(1000), "colours", tuple(map(str, range(1000))), None)
    sheet = Sheets(images).of(range(1000))
    assert len(sheet.png) > 5e6
    shown = [*range(996, 1000), 3]
    view = {**views["strip"], "data": {**views["strip"]["data"], **strip_view(images, shown, sheet, {}, 3, ())}}
    with chromium(tmp_path) as page:
        page.get(write_page(tmp_path / "page.html", {"strip": view}, sheet.png).as_uri())
        image = Image.open(io.BytesIO(page.get_screenshot_as_png())).convert("RGB")
        boxes = ask(
            page,
            "return [...document.querySelectorAll('.nb-thumb')].map(e => e.getBoundingClientRect())"
            ".map(b => [b.x + b.width / 2, b.y + b.height / 2])",
        )
        assert errors(page) == []
    seen = [image.getpixel((round(x), round(y))) for x, y in boxes]
    assert seen == [tuple(colours[row, :, 28, 28].tolist()) for row in shown]


def test_the_strip_stays_where_it_is_and_keeps_the_keyboard_when_news_arrive(page, views):
    view = copy.deepcopy(views["strip"])
    view["data"]["tiles"] = [tile | {"row": n} for n, tile in enumerate(view["data"]["tiles"] * 20)]
    ask(page, "models.strip.set('view', arguments[0])", view)
    grid = "document.querySelector('#strip .nb-strip')"
    ask(page, f"{grid}.focus(); {grid}.scrollTop = 400;")
    page.execute_async_script("requestAnimationFrame(() => setTimeout(arguments[0], 50))")
    view["data"]["tiles"][0]["status"] = "open"
    ask(page, "models.strip.set('view', arguments[0])", view)
    page.execute_async_script("requestAnimationFrame(() => setTimeout(arguments[0], 50))")
    assert ask(page, f"return {grid}.scrollTop") == 400
    assert ask(page, f"return document.activeElement === {grid}")
    view["data"]["selected"] = 0
    ask(page, "models.strip.set('view', arguments[0])", view)
    page.execute_async_script("requestAnimationFrame(() => setTimeout(arguments[0], 50))")
    assert ask(page, f"return {grid}.scrollTop") < 50, "another choice is brought into view"
    ask(page, "models.strip.set('view', arguments[0])", views["strip"])


def test_set(page, views):
    data = views["set"]["data"]
    for name, count in data["counts"].items():
        bar = ask(page, "return document.querySelector(`#set [data-status='${arguments[0]}']`).textContent", name)
        assert bar.endswith(str(count))
    ask(page, "document.querySelector(\"#set [data-status='open']\").dispatchEvent(new Event('click'))")
    assert ask(page, "return models.set.saved.at(-1).status") == "open"
    bars = "document.querySelectorAll(\"#set [data-kind='margin']\")"
    ask(page, f"{bars}[0].dispatchEvent(new Event('click'))")
    kind, low, high = ask(page, "return models.set.saved.at(-1).within")
    assert kind == "margin"
    assert [low, high] == data["edges"][:2]


def test_image_tells_levels_and_box_under_the_pointer(page, views):
    data = views["image"]["data"]
    point = (
        "const i = document.querySelector('#image img'); i.scrollIntoView(); const f = i.getBoundingClientRect();"
        "i.dispatchEvent(new PointerEvent('pointermove', { bubbles: true, clientX: f.left + f.width * 0.51,"
        "clientY: f.top + f.height * 0.26 })); return i.dataset.tip"
    )
    tip, x, y = ask(page, point), int(0.51 * data["side"]), int(0.26 * data["side"])
    assert tip.startswith(f"row {y}, column {x}: ")
    for channel in range(3):
        values = (data["levels"][channel][y][x], data["lower"][channel][y][x], data["upper"][channel][y][x])
        assert f"{values[0]} in [{values[1]:g}, {values[2]:g}]" in tip


@pytest.mark.parametrize("state", ["empty", "running", "stale", "failed"])
def test_the_other_states_say_what_is_the_matter(page, views, state):
    for name in PICTURES:
        kept = views[name]["data"] if state in ("running", "stale") else None
        view = {"state": state, "message": f"{state} on purpose", "data": kept}
        ask(page, "models[arguments[0]].set('view', arguments[1])", name, view)
        note = ask(page, "return document.querySelector(`#${arguments[0]} .nb-note`).textContent", name)
        assert note == f"{state} on purpose"
        ask(page, "models[arguments[0]].set('view', arguments[1])", name, views[name])
    assert errors(page) == []


@pytest.mark.skipif(shutil.which("chromium") is None, reason="no Chromium")
@pytest.mark.parametrize("name", PICTURES)
def test_modules_are_whole(name):
    text = module(name)
    assert "import " not in text
    assert text.count("export default") == 1
