"""The import of auto_LiRPA 0.3 (PyPI) or 0.7.1 (GitHub), with what today's torch and NumPy lack put right.

0.3 was written for torch < 1.13 and NumPy 1. On torch 2.8 / NumPy 2 four things are put right, on torch 2.11 and 2.13 a
fifth, each only where the attribute is missing, so 0.7.1 stays untouched:

1. `numpy.lib.arraysetops.isin`: the module is gone; a stand-in exists while the library is being imported.
2. `torch.onnx.symbolic_helper._set_opset_version`: gone; it has to set the exporter's opset, else traced networks
   lack the attributes `axes` and `split`.
3. `torch._C.Node.__getitem__`: gone; torch keeps its body as `symbolic_helper._node_get`.
4. `BoundedModule._named_members` has to accept `remove_duplicate`, which `torch.nn.Module` passes now.
5. `torch.onnx.utils._optimize_graph`, like all of the exporter's inner names: moved, see `exporter`.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import importlib.util
import io
import logging
import sys
import tempfile
import types
import warnings
from collections.abc import Iterator
from typing import Any
from unittest import mock

import numpy as np
import torch

from ..core import BoundsError


@functools.cache
def library() -> types.ModuleType:
    """auto_LiRPA, imported on first use, without its side effects on warnings, logging and the home directory."""
    from torch.onnx import utils

    # by name: as an attribute of torch.onnx it is another module in torch 2.13
    symbolic_helper = importlib.import_module("torch.onnx.symbolic_helper")
    with contextlib.ExitStack() as stack:
        stack.enter_context(warnings.catch_warnings())  # the library calls `simplefilter("once")`
        stack.enter_context(quiet())
        noisy = logging.getLogger("torch.utils.cpp_extension")  # says on every machine without CUDA that there is none
        stack.callback(noisy.setLevel, noisy.level)
        noisy.setLevel(logging.ERROR)
        root = logging.getLogger()
        stack.callback(setattr, root, "handlers", list(root.handlers))  # it calls `basicConfig(stream=stdout)`
        import appdirs

        folder = tempfile.gettempdir()  # it would create a folder of its own in the user's home, for nothing
        stack.enter_context(mock.patch.object(appdirs, "user_data_dir", return_value=folder))
        if not hasattr(np.lib, "arraysetops"):
            stand_in = types.ModuleType("numpy.lib.arraysetops")
            stand_in.isin = np.isin  # type: ignore[attr-defined]
            sys.modules[stand_in.__name__] = stand_in
            stack.callback(sys.modules.pop, stand_in.__name__)
        if not hasattr(utils, "_optimize_graph"):
            optimize = exporter("utils")._optimize_graph
            stack.enter_context(mock.patch.object(utils, "_optimize_graph", optimize, create=True))
        if not hasattr(symbolic_helper, "_set_opset_version"):
            stack.enter_context(mock.patch.object(symbolic_helper, "_set_opset_version", _set_opset, create=True))
        try:
            import auto_LiRPA
        except ModuleNotFoundError as error:  # 0.7.1 imports graphviz, which 0.3 does not
            raise BoundsError(
                f"auto_LiRPA: cannot be imported, the package {error.name} is missing. Install it: pip install "
                f"{error.name}."
            ) from error

        if not hasattr(torch._C.Node, "__getitem__"):
            setattr(torch._C.Node, "__getitem__", exporter("symbolic_helper")._node_get)  # noqa: B010
        members = auto_LiRPA.BoundedModule._named_members
        if "remove_duplicate" not in members.__code__.co_varnames:
            auto_LiRPA.BoundedModule._named_members = _accept_remove_duplicate(members)
    return auto_LiRPA


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keep what the library prints from the screen."""
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        yield


def _set_opset(version: int) -> None:
    exporter("_globals").GLOBALS.export_onnx_opset_version = version


def exporter(name: str) -> types.ModuleType:
    """Module `name` of torch's TorchScript-to-ONNX exporter: below `torch.onnx` until torch 2.8, moved after."""
    moved = "torch.onnx._internal.torchscript_exporter"
    inside = importlib.util.find_spec(moved) is not None
    return importlib.import_module(f"{moved if inside else 'torch.onnx'}.{name}")


def _accept_remove_duplicate(members: Any) -> Any:
    def named_members(self: Any, get_members: Any, prefix: str = "", recurse: bool = True, **_newer: Any) -> Any:
        return members(self, get_members, prefix, recurse)

    return named_members
