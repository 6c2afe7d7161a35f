"""Latencies of the explorer, p50 and p95 in milliseconds, beside what the network itself costs.

    python tests/benchmarks/explorer_latency.py [ROUNDS]

The kernel's part is from the call on the panel to the last view handed over; the page's part is measured in headless
Chromium on a page without a kernel (`tests/explore/picture_page.py`), from the event to the next frame. Both are on
the small network and the embedded images; the strip of 1,000 images is drawn from random pixels.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent), str(HERE.parent / "explore")]

from lab import chromium  # noqa: E402
from picture_page import write_page  # noqa: E402

from nbutils import BoundsConfig, load_images, margin_bounds, open_network  # noqa: E402
from nbutils.explore import Desk, Panel  # noqa: E402
from nbutils.explore.picture import PICTURES  # noqa: E402

FRAME = """
const done = arguments[arguments.length - 1];
const rounds = arguments[0], took = [];
function once(round) {
  if (round === rounds) { done(took); return; }
  const began = performance.now();
  act(round);
  requestAnimationFrame(() => setTimeout(() => { took.push(performance.now() - began); once(round + 1); }, 0));
}
once(0);
"""


def timed(act: Callable[[int], object], rounds: int) -> list[float]:
    """Milliseconds of `act` for every round."""
    found = []
    for number in range(rounds):
        began = time.perf_counter()
        act(number)
        found.append(1000 * (time.perf_counter() - began))
    return found


def line(name: str, values: Sequence[float], limit: float | None = None) -> None:
    """Print p50 and p95, and the limit that was set."""
    p50, p95 = np.percentile(values, [50, 95])
    said = "" if limit is None else f"   wanted below {limit:.0f}"
    print(f"{name:46} p50 {p50:8.1f}   p95 {p95:8.1f}{said}")


def in_page(browser: Any, action: str, rounds: int) -> list[float]:
    """Milliseconds from an action in the page to the frame that shows it."""
    return browser.execute_async_script(f"const act = (round) => {{ {action} }};\n{FRAME}", rounds)


def main() -> None:
    """Measure and print."""
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 40
    began = time.perf_counter()
    network, images = open_network("CIFAR100_resnet_small", device="cpu"), load_images("embedded")
    panel = Panel(Desk(network, images, steps=40, restarts=20))
    line("first panel, network opened and images read", [1000 * (time.perf_counter() - began)], 5000)
    panel.jobs.wait(60)

    session = panel.desk.session()
    point, label = session.box_of(0), images.labels[[0]]
    line("the network itself: one forward pass", timed(lambda _: network.judge(point.center), rounds))
    ibp = BoundsConfig(method="ibp")
    line("the network itself: IBP", timed(lambda _: margin_bounds(network, point, label, ibp), rounds))

    def settled(act: Callable[[int], object]) -> Callable[[int], object]:
        """Until IBP of the image is on the screen."""

        def run(number: int) -> None:
            act(number)
            while not any(record.method == "ibp" for record in panel.desk.bounds()):
                time.sleep(0.001)

        return run

    line("image change, margins on the screen", timed(lambda n: panel.choose(n % 20), rounds), 300)
    radii = [round(0.5 + 0.05 * n, 2) for n in range(rounds)]
    change = settled(lambda n: setattr(panel.controls.eps, "value", radii[n]))
    line("radius change, margins and IBP on the screen", timed(change, rounds), 300)
    panel.jobs.wait(120)
    line("known image again", timed(lambda n: panel.choose(n % 2), rounds), 100)
    panel.choose(17)
    panel.attack()
    panel.jobs.wait(120)
    panel.show()
    thousand = replace(
        images.take([n % 20 for n in range(1000)]),
        levels=np.random.default_rng(0).integers(0, 256, (1000, 3, 32, 32), dtype=np.uint8),
        indices=np.arange(1000),
    )
    line("strip of 1,000 images, resolved", timed(lambda _: Panel(Desk(network, thousand)).close(), 3))
    many = Panel(Desk(network, thousand))
    views = {name: panel.pictures[name].view for name in PICTURES} | {"strip": many.pictures["strip"].view}
    sheet = many.pictures["strip"].sheet
    many.close()
    panel.close()

    with tempfile.TemporaryDirectory() as folder, chromium(Path(folder)) as browser:
        browser.set_script_timeout(120)
        drawn = {name: view for name, view in views.items() if view["data"]}
        browser.get(write_page(Path(folder) / "page.html", drawn, sheet).as_uri())
        scrub = (
            "const s = document.querySelector('#trajectories .nb-slider'); s.value = round % 40;"
            "s.dispatchEvent(new Event('input'));"
        )
        line("page: scrub one step", in_page(browser, scrub, rounds), 100)
        hover = (
            "const rows = document.querySelectorAll('#ladder [data-rival]'); const f = rows[round % rows.length];"
            "f.dispatchEvent(new PointerEvent('pointermove', { bubbles: true, clientX: 100, clientY: 100 }));"
        )
        line("page: hover over a rival", in_page(browser, hover, rounds), 100)
        draw = "models.strip.set('view', { ...models.strip.get('view') });"
        line("page: strip of 1,000 images drawn anew", in_page(browser, draw, 10))


if __name__ == "__main__":
    main()
