"""The funnel on Dask gives the rows of one process, also where workers die or the parent is interrupted."""

import os
import signal
import socket
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import toys
from distributed import KilledWorker

from nbutils.core import (
    AttackConfig,
    BoundsError,
    ImageSet,
    NetworkError,
    Normalization,
    ParameterError,
    SelectionConfig,
    WorkbenchError,
)
from nbutils.networks import open_network
from nbutils.selection import Ledger, cluster, dask_engine, decide, run_funnel, run_key
from nbutils.selection.cluster import IN_FLIGHT, NetworkPlugin
from nbutils.selection.funnel import settle

NORMALIZATION = Normalization((0.5, 0.5, 0.5), (0.25, 0.25, 0.25))
CONFIG = SelectionConfig(eps=6 / 255, attack=AttackConfig(steps=20, restarts=5))


@pytest.fixture(scope="module")
def images(tiny_resnet):
    """16 random images, every fifth label wrong."""
    levels = np.random.default_rng(5).integers(0, 256, (16, 3, 8, 8), dtype=np.uint8)
    labels = tiny_resnet.judge(NORMALIZATION.to_network(levels.astype(np.float32) / np.float32(255))).argmax(axis=1)
    labels[::5] = (labels[::5] + 1) % 5
    return ImageSet(levels, labels, np.arange(16), "random", tuple("abcde"), NORMALIZATION)


@pytest.fixture(scope="module")
def expected(tiny_resnet, images):
    return bare(run_funnel(tiny_resnet, images, CONFIG, progress=False))


@pytest.fixture(scope="module")
def engine():
    with dask_engine(workers=2) as engine:
        yield engine


def bare(verdicts):
    """Everything of a verdict but its seconds, points included."""
    return [(replace(v, seconds=0.0), None if v.point is None else v.point.tobytes()) for v in verdicts]


def test_rows_are_those_of_one_process(engine, tiny_resnet, images, expected, tmp_path):
    with Ledger(tmp_path / "run.sqlite", run_key("x", CONFIG, NORMALIZATION)) as ledger:
        half = run_funnel(tiny_resnet, images.take(range(0, 16, 2)), CONFIG, ledger=ledger, engine=engine)
        assert len(ledger) == 8
        assert bare(half) == expected[::2]
        assert bare(run_funnel(tiny_resnet, images, CONFIG, ledger=ledger, engine=engine)) == expected
        assert len(ledger) == 16


def allocator_settings():
    return [name for name in os.environ if name.startswith("MALLOC_")]


def test_workers_keep_the_allocator_of_one_process(engine):
    # Dask's default MALLOC_TRIM_THRESHOLD_ doubles the time of an image
    assert set(map(tuple, engine._client.run(allocator_settings).values())) == {tuple(allocator_settings())}


def decide_or_die(network, images, row, folder, config, normalization):
    """The funnel's step, but the worker is killed on the first attempt at every image with a file in `folder`."""
    mark = Path(folder) / str(images.indices[row])
    if mark.exists():
        mark.unlink()
        os.kill(os.getpid(), signal.SIGKILL)
    return decide(network, images, row, config, normalization)


def test_a_worker_that_dies_loses_nothing(engine, tiny_resnet, images, expected, tmp_path):
    (tmp_path / "9").touch()
    jobs = {key: (row, str(tmp_path), CONFIG, NORMALIZATION) for row, key in enumerate(images.keys)}
    with Ledger(tmp_path / "run.sqlite", run_key("x", CONFIG, NORMALIZATION)) as ledger:
        found = settle(
            tiny_resnet, decide_or_die, images, jobs, ledger=ledger, progress=False, engine=engine, name="dying"
        )
        assert len(ledger) == 16
    assert not (tmp_path / "9").exists(), "precondition: a worker was killed"
    assert bare(found) == expected


def refuse(network, images, row, config, normalization):
    raise BoundsError(f"image {images.indices[row]} is refused")


def test_an_error_on_a_worker_stops_the_run_and_arrives_as_it_is(engine, tiny_resnet, images):
    jobs = {key: (row, CONFIG, NORMALIZATION) for row, key in enumerate(images.keys)}
    with pytest.raises(BoundsError, match=r"^image \d+ is refused$"):
        settle(tiny_resnet, refuse, images, jobs, ledger=None, progress=False, engine=engine, name="refusing")


def test_few_tasks_are_in_flight(engine, tiny_resnet, images, expected):
    asked = []

    def jobs():
        for row in range(16):
            asked.append(row)
            yield images.take([row]), 0, CONFIG, NORMALIZATION

    found = engine(tiny_resnet, decide, jobs())
    first = next(iter(found))
    assert len(asked) <= 2 * IN_FLIGHT + 1
    assert len([first, *found]) == len(asked) == 16


def test_an_abandoned_run_leaves_the_cluster_usable(engine, tiny_resnet, images, expected):
    found = engine(tiny_resnet, decide, ((images.take([row]), 0, CONFIG, NORMALIZATION) for row in range(16)))
    next(found)
    found.close()
    assert bare(run_funnel(tiny_resnet, images, CONFIG, progress=False, engine=engine)) == expected


def test_a_network_file_that_changed_is_refused(engine, images, tmp_path):
    network = open_network(toys.tiny_resnet(tmp_path), device="cpu")
    toys.tiny_resnet(tmp_path, seed=1)
    with pytest.raises(NetworkError, match=r"SHA-256 of tiny_resnet.onnx: found .* changed after it was opened"):
        run_funnel(network, images, CONFIG, progress=False, engine=engine)


def test_a_running_scheduler_is_used(tiny_resnet, images, expected, engine):
    with dask_engine(scheduler=engine._client.scheduler.address) as other:
        assert bare(run_funnel(tiny_resnet, images, CONFIG, progress=False, engine=other)) == expected


def test_an_image_that_kills_worker_after_worker_is_named():
    class Dead:
        key = "settle-12-ab"

        def result(self):
            raise KilledWorker("settle-12-ab", None, 3)

    with pytest.raises(WorkbenchError, match="killed 4 workers in turn .*Use fewer workers; every image settled so"):
        cluster._result(Dead())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"workers": 0}, "workers: found 0; allowed: a whole number of processes, 1 to 1024"),
        ({"workers": True}, "workers: found True"),
        ({}, r"workers, scheduler: found \(None, None\); allowed: one of the two"),
        ({"workers": 1, "scheduler": "tcp://a:1"}, "allowed: one of the two"),
        ({"scheduler": "nonsense://a"}, "scheduler: found 'nonsense://a'; .*`dask scheduler`"),
        ({"scheduler": "tcp://127.0.0.1:9"}, "scheduler: found 'tcp://127.0.0.1:9 .Timed out.*`dask scheduler`"),
    ],
)
def test_wrong_clusters_are_refused(arguments, message, monkeypatch):
    monkeypatch.setattr(cluster, "_TIMEOUT", 1)
    with pytest.raises(ParameterError, match=message), dask_engine(**arguments):
        pytest.fail("no cluster should have started")


def test_the_plugin_carries_bytes_not_paths(tiny_resnet):
    plugin = NetworkPlugin(tiny_resnet)
    assert plugin.name != NetworkPlugin(tiny_resnet).name, "two runs on one cluster do not share a plugin"
    assert not any(str(tiny_resnet.path.parent) in str(value) for value in vars(plugin).values())


def test_something_else_that_listens_is_told_apart_from_a_scheduler():
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        began = time.monotonic()
        with pytest.raises(ParameterError, match="scheduler: found 'tcp://127.0.0.1:.*no answer of a Dask scheduler"):
            cluster._connect(f"tcp://127.0.0.1:{other.getsockname()[1]}")
        assert time.monotonic() - began < 10  # was: for ever


@pytest.mark.parametrize("address", ["nonsense", "http://x", ""])
def test_a_malformed_address_is_refused_at_once(address):
    with pytest.raises(ParameterError, match="scheduler: found .*as tcp://host:8786"):
        cluster._connect(address)


def test_workers_that_end_slowly_do_not_spoil_what_they_computed(tiny_resnet, images, expected, monkeypatch):
    closed = []

    def slowly(self, close=cluster.LocalCluster.close):
        close(self)
        closed.append(self)
        raise TimeoutError  # as Dask does where it had to kill a worker and did not see it die in time

    monkeypatch.setattr(cluster.LocalCluster, "close", slowly)
    with dask_engine(workers=1) as engine:
        assert bare(run_funnel(tiny_resnet, images, CONFIG, engine=engine, progress=False)) == expected
    assert len(closed) == 1
    with pytest.raises(TimeoutError, match="of the caller"), dask_engine(workers=1):
        raise TimeoutError("of the caller")
    assert len(closed) == 2
