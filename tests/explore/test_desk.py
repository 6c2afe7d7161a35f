"""The explorer without a screen: jobs, the desk and the panel's answers."""

from __future__ import annotations

import shutil
import threading
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import toys
from onnx import numpy_helper

from nbutils import load_images
from nbutils.core import Box, ParameterError
from nbutils.explore import Cancelled, Desk, Job, Jobs, Panel, tasks
from nbutils.explore.opened import OpenedNetworks
from nbutils.explore.picture import Picture
from nbutils.networks import write_card


def touch(picture: Picture, what: dict) -> None:
    """A click as the browser tells it."""
    picture._handle_custom_msg({"picked": what}, [])


def quick(name="job", work=lambda job: None):
    return Job(name, work)


def resident():
    """Megabytes of this process that are in memory."""
    pages = int(Path("/proc/self/statm").read_text().split()[1]) if Path("/proc/self/statm").exists() else 0
    return pages * 4096 / 1e6


def threads():
    return [thread for thread in threading.enumerate() if thread.name == "nbutils-explorer"]


def test_jobs_run_in_turn_and_leave_no_thread():
    order, jobs = [], Jobs()
    started = [jobs.start(quick(str(n), lambda job: order.append(job.name))) for n in range(5)]
    assert jobs.wait(10)
    assert order == ["0", "1", "2", "3", "4"]
    assert {job.state for job in started} == {"done"}
    assert not threads()


def test_a_cancelled_job_ends_at_its_next_report_and_a_waiting_one_never_begins():
    jobs, began = Jobs(), threading.Event()

    def forever(job):
        while True:
            began.set()
            job.report("going on")
            time.sleep(0.01)

    first, second = jobs.start(quick("first", forever)), jobs.start(quick("second"))
    assert began.wait(5)
    at = time.monotonic()
    jobs.cancel()
    assert jobs.wait(5)
    assert time.monotonic() - at < 0.5
    assert (first.state, second.state) == ("cancelled", "cancelled")
    with pytest.raises(Cancelled):
        first.report()


def test_progress_is_told_while_a_job_runs_but_not_at_every_step():
    said = []
    jobs = Jobs(lambda job: said.append(None if job is None else job.progress))

    def work(job):
        for number in range(60):
            job.report(f"step {number}")
            time.sleep(0.01)

    jobs.start(quick(work=work))
    assert jobs.wait(10)
    told = [text for text in said if text]
    assert told[0] == "step 0"
    assert 2 <= len(told) <= 6


def test_a_failure_is_kept_and_the_next_job_runs():
    jobs = Jobs()
    first = jobs.start(quick("first", lambda job: 1 / 0))
    second = jobs.start(quick("second"))
    assert jobs.wait(5)
    assert (first.state, type(first.error), second.state) == ("failed", ZeroDivisionError, "done")


def test_who_waits_waits_for_the_last_news_too():
    news = []

    def tell(job):
        if job is None:
            time.sleep(0.3)
            news.append("the end")

    jobs = Jobs(tell)
    jobs.start(quick("first"))
    assert not jobs.wait(0.05)
    assert jobs.wait(5)
    assert news == ["the end"]
    assert not threads()


def test_a_job_that_comes_while_the_last_news_is_told_runs_in_the_same_thread():
    ran = []

    def tell(job):
        if job is None and len(ran) < 3:
            jobs.start(quick(work=lambda job: ran.append(threading.get_ident())))

    jobs = Jobs(tell)
    jobs.start(quick(work=lambda job: ran.append(threading.get_ident())))
    assert jobs.wait(5)
    assert len(ran) == 3
    assert len(set(ran)) == 1
    assert not threads()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_news_that_cannot_be_told_do_not_end_the_work_for_ever():
    jobs, ran = Jobs(), []
    jobs.start(Job("first", lambda job: None, lambda job: 1 / 0))
    jobs.wait(5)
    jobs.start(quick("second", lambda job: ran.append(job.name)))
    assert jobs.wait(5)
    assert ran == ["second"]


@pytest.fixture
def desk(small_network):
    return Desk(small_network, load_images("embedded"), steps=8, restarts=3)


@pytest.fixture
def panel(desk, tmp_path):
    made = Panel(desk, out=tmp_path / "explored")
    assert made.jobs.wait(60)
    yield made
    made.close()
    assert not threads()


def test_what_is_cheap_is_there_at_once_and_the_rest_is_told_how_to_get(panel):
    began = time.perf_counter()
    panel.choose(17)
    assert time.perf_counter() - began < 1.0
    assert panel.jobs.wait(60)
    view = panel.pictures["ladder"].view["data"]
    assert view["methods"] == ["ibp", "crown-ibp"]
    assert panel.pictures["trajectories"].view["state"] == "empty"
    assert "Attack" in panel.pictures["trajectories"].view["message"]


def test_an_attack_is_the_sessions_own(panel):
    panel.choose(17)
    panel.attack()
    assert panel.jobs.wait(60)
    found = panel.desk.trace()
    fresh = Desk(panel.desk.session().network, panel.desk.images, steps=8, restarts=3).session().trace(17)
    np.testing.assert_array_equal(found.margins, fresh.margins)
    data = panel.pictures["trajectories"].view["data"]
    assert data["done"]
    np.testing.assert_allclose(data["margins"], found.margins[0], rtol=1e-5)


def test_another_radius_makes_the_attack_stale_and_back_again_it_is_there(panel):
    panel.choose(17)
    panel.attack()
    panel.jobs.wait(60)
    panel.controls.eps.value = 2.0
    view = panel.pictures["trajectories"].view
    assert (view["state"], "1.00/255" in view["message"]) == ("stale", True)
    panel.controls.eps.value = 1.0
    assert panel.pictures["trajectories"].view["state"] == "ready"
    panel.controls.restarts.value = 2
    view = panel.pictures["trajectories"].view
    assert (view["state"], len(view["data"]["margins"][0])) == ("stale", 3)
    assert view["message"].startswith("This is an attack of 8 steps and 3 restarts, seed 0. Press Attack")
    assert panel.pictures["ladder"].view["data"]["methods"] == ["ibp", "crown-ibp"], "bounds know no restarts"
    panel.jobs.wait(60)


def test_errors_stand_in_the_panel(panel):
    panel.controls.buttons["export"].click()
    assert "basket: found" in panel.controls.progress.value
    with pytest.raises(ParameterError, match="row: found 99"):
        panel.choose(99)
    touch(panel.pictures["strip"], {"row": 99})
    assert "row: found 99" in panel.controls.progress.value
    panel.controls.show_log.value = True
    assert "row: found 99" in panel.controls.log.value
    assert "basket: found" in panel.controls.log.value


def test_the_plane_follows_the_attack_and_the_replay_steps(panel):
    panel.choose(17)
    panel.attack()
    assert panel.jobs.wait(60)
    data = panel.pictures["trajectories"].view["data"]
    plane = panel.desk.plane()
    np.testing.assert_allclose(data["plane"]["margins"], plane.path_margins, rtol=1e-5)
    assert data["plane"]["url"].startswith("data:image/png")
    strip = panel.pictures["strip"]
    touch(strip, {"key": ","})
    assert panel.pictures["trajectories"].step == 7
    touch(strip, {"key": ","})
    touch(strip, {"key": "."})
    assert panel.pictures["trajectories"].step == 7
    panel.pictures["trajectories"].scrubbed = {"step": 3, "count": 1}
    touch(strip, {"key": "."})
    assert panel.pictures["trajectories"].step == 4


def test_layers_are_those_of_the_bounds(panel):
    panel.choose(17)
    assert panel.jobs.wait(60)
    data = panel.pictures["layers"].view["data"]
    (ibp, crown_ibp) = panel.desk.bounds()
    np.testing.assert_allclose(data["width"]["ibp"], [layer.width[0] for layer in ibp.layers], rtol=1e-5)
    np.testing.assert_allclose(
        data["unstable"]["crown-ibp"], [layer.unstable[0] for layer in crown_ibp.layers], rtol=1e-5
    )


def test_a_ledger_keeps_verdicts_for_another_day(small_network, tmp_path):
    images, path = load_images("embedded").take(range(3)), tmp_path / "known.db"
    first = Desk(small_network, images, steps=4, restarts=2, ledger=path)
    tasks.settle_all(first, quick(), lambda part: None)
    assert len(first.settled()) == 3
    again = Desk(small_network, images, steps=4, restarts=2, ledger=path)
    assert {k: v.status for k, v in again.settled().items()} == {k: v.status for k, v in first.settled().items()}
    again.set_radius(2.0)
    assert not again.settled(), "the ledger is about one radius"


def test_settling_tells_of_its_verdicts_now_and_then_and_at_the_end(small_network, monkeypatch):
    images = load_images("embedded").take(range(4))
    desk, told = Desk(small_network, images, steps=2, restarts=1), []
    monkeypatch.setattr(tasks, "PAUSE", 1e9)
    tasks.settle_all(desk, quick(), lambda part: told.append((part, len(desk.settled()))))
    assert told == [("status", 1), ("status", 4)]

    def stop(text: str) -> None:
        if "image 3 " in text:
            raise Cancelled

    job = quick()
    job.report = stop
    desk, told = Desk(small_network, images, steps=2, restarts=1), []
    with pytest.raises(Cancelled):
        tasks.settle_all(desk, job, lambda part: told.append((part, len(desk.settled()))))
    assert told[-1] == ("status", 2), "what was settled before is shown"


def test_a_preview_names_what_an_export_writes(panel, tmp_path):
    assert "nothing would be written" in panel.desk.preview()
    panel.settle()
    assert panel.jobs.wait(120)
    index = next(v.index for v in panel.desk.settled().values() if v.status == "open")
    panel.choose(panel.desk.session().row_of(index))
    panel.toggle()
    named = panel.desk.preview().split("\n\n")[0].splitlines()
    report = panel.desk.export(tmp_path / "written")
    assert sorted(named) == sorted(report.files)


def test_a_network_is_opened_by_its_path(panel, tmp_path):
    original = panel.desk.session().network.path
    copied = shutil.copy(original, tmp_path / "mine.onnx")
    panel.controls.path.value = str(copied)
    assert "normalisation of mine" in panel.screen.failure
    assert "mine" not in panel.desk.names(), "what was refused leaves nothing"
    shutil.copy(original.with_suffix(".json"), tmp_path / "mine.json")
    panel.controls.path.value = f" {copied}"
    assert not panel.screen.failure
    assert panel.controls.network.value == panel.desk.network == "mine"
    assert "mine" in panel.controls.compare.options
    panel.controls.path.value = str(tmp_path / "missing.onnx")
    assert "missing.onnx" in panel.screen.failure
    assert panel.desk.network == "mine", "what was there stays"
    assert panel.jobs.wait(60)


def test_another_file_of_the_same_name_is_another_network(panel, tmp_path):
    """As the published networks beside those in onnx/: results of one were shown as those of the other."""
    original = panel.desk.session().network
    model = onnx.load(original.path)
    weights = next(tensor for tensor in model.graph.initializer if tensor.dims == [100])
    weights.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(weights)[::-1].copy(), weights.name))
    onnx.save(model, tmp_path / original.path.name)
    write_card(
        tmp_path / original.path.name, dataset="cifar100", normalization=original.normalization, recipe="by hand"
    )
    before = panel.desk.session().margins.values.copy()
    panel.controls.path.value = str(tmp_path / original.path.name)
    assert not panel.screen.failure
    assert panel.controls.network.value == panel.desk.network == f"{original.name} (2)"
    assert f"Desk({str(tmp_path / original.path.name)!r}, images" in panel.desk.code()
    assert panel.desk.session().network.path == tmp_path / original.path.name
    assert not np.allclose(panel.desk.session().margins.values, before)
    panel.controls.compare.value = original.name
    assert panel.jobs.wait(60)
    assert panel.desk.session(panel.desk.compare).network is original
    panel.controls.path.value = f"{tmp_path / original.path.name} "  # once more: nothing new
    assert panel.desk.network == f"{original.name} (2)"
    assert panel.jobs.wait(60)
    panel.controls.network.value = original.name
    assert panel.desk.compare is None
    assert np.array_equal(panel.desk.session().margins.values, before)
    assert f"Desk({original.name!r}, images" in panel.desk.code()
    assert panel.jobs.wait(60)


def test_a_link_in_onnx_keeps_its_name(small_network, tmp_path, monkeypatch):
    (tmp_path / "onnx").mkdir()
    link = tmp_path / "onnx" / small_network.path.name
    link.symlink_to(small_network.path)
    monkeypatch.setattr("nbutils.explore.opened.root", lambda: tmp_path)
    monkeypatch.setattr("nbutils.explore.opened.list_networks", lambda: (small_network.name,))
    opened = OpenedNetworks()
    assert opened.open(replace(small_network, path=link)) == small_network.name == opened.reference(small_network.name)
    assert opened.open(small_network) == f"{small_network.name} (2)", "its own folder is not onnx/ here"


@pytest.mark.parametrize("which", ["network", "compare"])
def test_a_network_that_does_not_fit_the_images_is_refused_and_not_chosen(desk, tmp_path, monkeypatch, which):
    misfit = str(toys.two_neuron_net(tmp_path))
    monkeypatch.setattr("nbutils.explore.opened.list_networks", lambda: ("CIFAR100_resnet_small", misfit))
    panel = Panel(desk, out=tmp_path / "explored")
    getattr(panel.controls, which).value = misfit
    assert "allowed: grey ones, as two_neuron takes one channel" in panel.screen.failure
    assert (panel.controls.network.value, panel.controls.compare.value) == ("CIFAR100_resnet_small", "none")
    assert (desk.network, desk.compare) == ("CIFAR100_resnet_small", None)
    panel.choose(3)
    assert panel.jobs.wait(60)
    assert panel.pictures["ladder"].view["data"]["methods"] == ["ibp", "crown-ibp"]
    panel.close()


def test_a_whole_test_set_is_not_gone_through_at_every_touch(small_network, monkeypatch):
    """With 10,000 images a change of the radius took seconds: boxes and margins of all were made anew."""
    levels = np.random.default_rng(0).integers(0, 256, (2500, 3, 32, 32), dtype=np.uint8)
    labels = np.arange(2500) % 100
    images = replace(load_images("embedded"), levels=levels, labels=labels, indices=np.arange(2500))
    panel = Panel(Desk(small_network, images, steps=2, restarts=1))
    assert panel.jobs.wait(60)
    boxed, judged = [], []
    around, judge = Box.around.__func__, type(small_network).judge
    monkeypatch.setattr(Box, "around", classmethod(lambda cls, x, *more: boxed.append(len(x)) or around(cls, x, *more)))
    monkeypatch.setattr(type(small_network), "judge", lambda self, x: judged.append(len(x)) or judge(self, x))
    panel.choose(2400)
    panel.controls.eps.value = 0.5
    panel.controls.find.value = images.name_of(int(labels[2400]))
    assert [tile["row"] for tile in panel.pictures["strip"].view["data"]["tiles"]] == list(range(0, 2500, 100))
    assert panel.jobs.wait(60)
    panel.close()
    assert boxed
    assert max(boxed) == 1
    assert sum(judged) < 50


def test_what_a_cell_computed_is_shown_with_the_next_picture(panel):
    ladder = panel.pictures["ladder"]
    assert ladder.view["data"]["rungs"][0]["attacked"] is None
    panel.desk.session().trace(panel.desk.row)  # as a cell of the notebook does
    panel.controls.find.value = "tree"
    assert ladder.view["data"]["rungs"][0]["attacked"] is not None
    assert panel.pictures["trajectories"].view["state"] == "ready"


def test_a_bar_filters_the_strip_and_once_more_shows_all(panel):
    panel.settle()
    assert panel.jobs.wait(180)
    data = panel.pictures["set"].view["data"]
    for kind, edges, counts in (
        ("margin", data["edges"], [sum(data["bins"][s][n] for s in data["bins"]) for n in range(8)]),
        ("hardness", data["hardness"]["edges"], data["hardness"]["counts"]),
    ):
        number = next(n for n, count in enumerate(counts) if count)
        picked = {"within": [kind, edges[number], edges[number + 1]]}
        touch(panel.pictures["set"], picked)
        assert len(panel.pictures["strip"].view["data"]["tiles"]) == counts[number]
        assert f"only {kind} from" in panel.pictures["strip"].view["message"]
        touch(panel.pictures["set"], picked)
        assert len(panel.pictures["strip"].view["data"]["tiles"]) == 20


def test_only_open_images_of_the_basket_are_exported(panel, tmp_path):
    panel.controls.eps.value = 1.0
    panel.settle()
    assert panel.jobs.wait(120)
    statuses = {v.index: v.status for v in panel.desk.settled().values()}
    chosen = [next(i for i, s in statuses.items() if s == wanted) for wanted in ("open", "verified")]
    for index in chosen:
        panel.choose(panel.desk.session().row_of(index))
        panel.toggle()
    panel.export()
    rows = (tmp_path / "explored" / "1.0" / "instances.csv").read_text().splitlines()
    assert len(rows) == 1
    assert f"_idx_{chosen[0]}_" in rows[0]


def test_fifty_random_actions_end_where_a_fresh_panel_with_these_settings_is(panel):
    rng, before = np.random.default_rng(7), resident()
    for _ in range(50):
        act = rng.integers(0, 7)
        if act <= 1:
            panel.choose(int(rng.integers(0, 20)))
        elif act == 2:
            panel.controls.eps.value = float(rng.choice([0.5, 1.0, 2.0]))
        elif act == 3:
            panel.attack()
        elif act == 4:
            panel.cancel()
        elif act == 5:
            touch(panel.pictures["ladder"], {"rival": int(rng.integers(0, 99))})
        else:
            panel.toggle()
    panel.cancel()
    assert panel.jobs.wait(60)
    assert not panel.screen.failure
    assert resident() - before < 100, "megabytes"
    row, eps = panel.desk.row, panel.desk.eps_255
    panel.choose(row)
    assert panel.jobs.wait(60)
    other = Panel(Desk(panel.desk.session().network, panel.desk.images, eps_255=eps, steps=8, restarts=3))
    other.choose(row)
    assert other.jobs.wait(60)
    if panel.desk.trace() is not None:
        other.attack()
        assert other.jobs.wait(60)
    assert panel.pictures["ladder"].view == other.pictures["ladder"].view
    assert panel.pictures["image"].view == other.pictures["image"].view
    other.close()


def test_crown_on_the_large_network_is_cancelled_in_half_a_second():
    desk = Desk("CIFAR100_resnet_large", load_images("embedded"), device="cpu")
    panel = Panel(desk)
    assert panel.jobs.wait(120)
    job = panel.bound("crown")
    end = time.monotonic() + 60
    while "layer" not in job.progress and time.monotonic() < end:
        time.sleep(0.05)
    time.sleep(0.5)
    at = time.monotonic()
    panel.cancel()
    assert panel.jobs.wait(20)
    took = time.monotonic() - at
    assert job.state == "cancelled"
    assert took < 2, took  # half a second on a quiet machine: a chunk of rows is the unit
    panel.close()
