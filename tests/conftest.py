"""Fixtures shared by all tests: opened networks, optional data, matplotlib without a screen."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

os.environ["MPLBACKEND"] = "Agg"
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # read when torch loads: threads that spin starve each other
if "PYTEST_XDIST_WORKER" in os.environ:  # several runs share the cores: a thread each, also in the kernels they start
    os.environ.setdefault("OMP_NUM_THREADS", "1")
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # of `make test &`; the commands that tests interrupt inherit it
    signal.signal(signal.SIGINT, signal.default_int_handler)

import pytest
import toys

from nbutils.networks import Network, open_network

_SHARED = Path(__file__).resolve().parents[2] / "shared"


@pytest.hookimpl(tryfirst=True)  # before pytest-xdist's own hook, which reads the marks
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """With `-n 2 --dist loadgroup` a file stays in one run, as its fixtures do, and only one browser is open."""
    for item in items:
        browser = item.get_closest_marker("browser") is not None
        item.add_marker(pytest.mark.xdist_group("browser" if browser else item.nodeid.partition("::")[0]))


@pytest.fixture(autouse=True)
def _close_figures() -> Iterator[None]:
    yield
    if "matplotlib.pyplot" in sys.modules:
        sys.modules["matplotlib.pyplot"].close("all")


@pytest.fixture(scope="session")
def shared() -> Path:
    """Folder of optional data beside the checkout; without it the test is skipped."""
    if not _SHARED.is_dir():
        pytest.skip("no folder ../shared with reference data beside the checkout")
    return _SHARED


@pytest.fixture(scope="session")
def small_network() -> Network:
    """The CIFAR-100 network of the repository, on the CPU."""
    return open_network("CIFAR100_resnet_small", device="cpu")


@pytest.fixture(scope="session")
def two_neuron(tmp_path_factory: pytest.TempPathFactory) -> Network:
    """`toys.two_neuron_net` with its lead of 2.75."""
    return open_network(toys.two_neuron_net(tmp_path_factory.mktemp("toy")), device="cpu")


@pytest.fixture(scope="session")
def linear(tmp_path_factory: pytest.TempPathFactory) -> Network:
    """`toys.linear_net`."""
    return open_network(toys.linear_net(tmp_path_factory.mktemp("toy")), device="cpu")


@pytest.fixture(scope="session")
def tiny_resnet(tmp_path_factory: pytest.TempPathFactory) -> Network:
    """`toys.tiny_resnet` of seed 0."""
    return open_network(toys.tiny_resnet(tmp_path_factory.mktemp("toy")), device="cpu")


@pytest.fixture(scope="session")
def mlp(tmp_path_factory: pytest.TempPathFactory) -> Network:
    """`toys.random_mlp` of seed 0."""
    return open_network(toys.random_mlp(tmp_path_factory.mktemp("toy"), seed=0), device="cpu")
