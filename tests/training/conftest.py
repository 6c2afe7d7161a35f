"""What the tests of training share: toy architectures, their network and images."""

from __future__ import annotations

import pytest
from training_toys import OTHER, TOY, toy_images, toy_network

from nbutils.networks import architectures


@pytest.fixture(autouse=True)
def _toy_architectures(monkeypatch):
    """The toys stand among the published architectures."""
    for architecture in (TOY, OTHER):
        monkeypatch.setitem(architectures.ARCHITECTURES, architecture.name, architecture)


@pytest.fixture
def toy():
    """A toy network with weights of its own."""
    return toy_network()


@pytest.fixture(scope="module")
def images():
    """Toy training images."""
    return toy_images()
