"""The examples in the docstrings of what `import nbutils` offers are run, and every name there has one."""

from __future__ import annotations

import doctest

import numpy as np
import pytest

import nbutils
from nbutils.core import Normalization

NAMES = sorted(set(nbutils.__all__) - {"__version__", "findings", "plots"})


@pytest.mark.parametrize("name", NAMES)
def test_example(name, small_network, tmp_path):
    thing = getattr(nbutils, name)
    known = {other: getattr(nbutils, other) for other in NAMES} | {
        "np": np, "Normalization": Normalization, "plots": nbutils.plots, "folder": tmp_path,
        "network": small_network, "images": nbutils.load_images("embedded"),
    }  # fmt: skip
    examples = doctest.DocTestParser().get_doctest(thing.__doc__, known, name, None, None)
    assert examples.examples, "a public name has an example"
    said: list[str] = []
    flags = doctest.IGNORE_EXCEPTION_DETAIL | doctest.NORMALIZE_WHITESPACE
    failed = doctest.DocTestRunner(optionflags=flags).run(examples, out=said.append).failed
    assert failed == 0, "".join(said)
