"""auto_LiRPA 0.3 and 0.7.1 behind one set of names; nothing else but `lirpa_import` names the library.

Of the library's interface this package uses `BoundedModule(model, global_input, bound_opts=, device=)`,
`compute_bounds(x=, C=, method=, final_node_name=, bound_lower=, bound_upper=)`, `set_bound_opts`,
`PerturbationLpNorm(norm=, x_L=, x_U=)`, `BoundedTensor(x, ptb)` and the nodes' `name`, `inputs`, `output_name`,
`lower`, `upper`, `perturbed`; these are spelled alike in both. What is spelled differently is in `intermediate_name`,
`fix_intermediate_name`, `optimized_lower` and `bounded_inputs`. `Patches` of 0.3 is used where it takes the arguments
of 0.3 (`signed_patches`), and nothing depends on it.
"""

from __future__ import annotations

import inspect
import logging
import re
from typing import Any

import numpy as np
import torch

from .lirpa_import import exporter, library, quiet

FAILURES = (
    NotImplementedError,
    RuntimeError,
    AssertionError,
    AttributeError,
    IndexError,
    KeyError,
    TypeError,
    ValueError,
)
"""What the library raises where it meets a graph or a shape it cannot bound, or runs out of memory."""


OPTIONS = {"conv_mode": "patches", "sparse_features_alpha": False}
"""Matrix mode of 0.3 fails on some convolutions; sparse slopes of 0.3 fail where almost all neurons are unstable."""


_Array = np.ndarray | torch.Tensor


class UnsupportedOperation(Exception):
    """The library has no bounds for an operation; the text names the operations."""


def intermediate_name() -> str:
    """Name of the `compute_bounds` argument that takes known intermediate bounds."""
    names = library().BoundedModule.compute_bounds.__code__.co_varnames
    return "interm_bounds" if "interm_bounds" in names else "intermediate_layer_bounds"


def fix_intermediate_name() -> str:
    """Name of the optimiser's option that keeps intermediate bounds as they are."""
    return "fix_interm_bounds" if intermediate_name() == "interm_bounds" else "fix_intermediate_layer_bounds"


def bounded_module(twin: torch.nn.Module, input_shape: tuple[int, ...], device: torch.device) -> Any:
    """A `BoundedModule` over `twin` for inputs [N, *input_shape], in eval mode, weights frozen.

    `twin` is given away: the library moves and re-reads the weights.

    Raises:
        UnsupportedOperation: for an operation the library does not know.
    """
    lirpa, settings = library(), exporter("_globals").GLOBALS
    example = torch.zeros(1, *input_shape, device=device)
    collected = _Collector()
    logger = logging.getLogger("auto_LiRPA.utils")
    opset = settings.export_onnx_opset_version
    logger.addHandler(collected)
    propagate, logger.propagate = logger.propagate, False
    try:
        with quiet():
            bounded = lirpa.BoundedModule(twin, example, bound_opts=OPTIONS, device=device)
    except NotImplementedError as error:
        raise UnsupportedOperation(collected.operations or str(error)) from error
    finally:
        logger.removeHandler(collected)
        logger.propagate = propagate
        settings.export_onnx_opset_version = opset
    bounded.eval()
    for parameter in bounded.parameters():
        parameter.requires_grad_(False)
    return bounded


def has_patches() -> bool:
    """Whether the library's `Patches` can be made as `signed_patches` makes them, which is so in 0.3."""
    patches = getattr(getattr(library(), "patches", None), "Patches", None)
    wanted = {"patches", "stride", "padding", "shape", "unstable_idx", "output_shape"}
    return patches is not None and wanted.issubset(inspect.signature(patches).parameters)


def signed_patches(rows: torch.Tensor, signs: torch.Tensor, shape: torch.Size) -> Any:
    """Specification whose row i is `signs[i]` at neuron `rows[i]` of an image layer [1, C, H, W], as patches.

    The library carries such a row towards the input as a patch of the size of its receptive field, and turns it into
    a whole image where the patch has become larger than one.
    """
    _, channels, _, width = shape
    channel, place = rows // shape[2:].numel(), rows % shape[2:].numel()
    values = torch.zeros(len(rows), 1, channels, 1, 1, dtype=signs.dtype, device=rows.device)
    values[torch.arange(len(rows), device=rows.device), 0, channel] = signs.view(-1, 1, 1)
    where = (channel, place // width, place % width)
    return library().patches.Patches(
        values, stride=1, padding=0, shape=values.shape, unstable_idx=where, output_shape=list(shape)
    )


def optimized_lower(
    bounded: Any,
    x: Any,
    wanted: torch.Tensor,
    hidden: dict[str, tuple[torch.Tensor, torch.Tensor]],
    steps: int,
    lr: float,
) -> torch.Tensor:
    """Lower bounds [M] of `wanted` [1, M, K] @ outputs after `steps` gradient steps on the relaxations' slopes.

    The bounds `hidden` are kept. The slopes are set up from them here, because the library would compute
    all intermediate bounds once more to do so.
    """
    known = {intermediate_name(): hidden}
    settings = {"iteration": steps + 1, "lr_alpha": lr, "init_alpha": False, fix_intermediate_name(): True}
    bounded.set_bound_opts({"optimize_bound_args": {**settings, "early_stop_patience": steps + 1}})
    initialise = getattr(bounded, "init_alpha", None) or bounded.init_slope
    initialise((x,), c=wanted, bound_upper=False, **known)
    lower, _ = bounded.compute_bounds(x=(x,), C=wanted, method="CROWN-Optimized", bound_upper=False, **known)
    return lower[0].detach()


def bounded_input(center: _Array, lower: _Array, upper: _Array, device: torch.device) -> Any:
    """The box of one image, float32 [1, C, H, W] each, as the library takes it: element by element."""
    lirpa = library()
    low, up, mid = (torch.as_tensor(array).to(device) for array in (lower, upper, center))
    return lirpa.BoundedTensor(mid, lirpa.PerturbationLpNorm(norm=float("inf"), x_L=low, x_U=up))


def bounded_inputs(node: Any) -> list[Any]:
    """Inputs of `node` whose bounds its relaxation needs (0.3 says `nonlinear`, 0.7.1 lists positions)."""
    if getattr(node, "nonlinear", False):
        return list(node.inputs)
    return [node.inputs[position] for position in getattr(node, "requires_input_bounds", ())]


def is_relu(node: Any) -> bool:
    """Whether `node` is a ReLU, whose relaxation is exact where its input keeps its sign."""
    return type(node).__name__ == "BoundRelu"


def failing_operation(error: BaseException) -> str:
    """Name of the operation in which the library raised `error`, as its ONNX name; empty if it was in none."""
    found, step = "", error.__traceback__
    while step is not None:
        kind = type(step.tb_frame.f_locals.get("self")).__name__
        if kind.startswith("Bound") and kind not in ("BoundedModule", "BoundEngine"):
            found = kind.removeprefix("Bound")
        step = step.tb_next
    return found


def reason(error: BaseException) -> str:
    """What the library raised, in one line: operation where it can be told, kind of error, and its text."""
    place = f" in {found}" if (found := failing_operation(error)) else ""
    lines = str(error).strip().splitlines()
    text = lines[0] if lines else "the library says no more; an attribute or a number of inputs that it does not know"
    return f"failed{place} with {type(error).__name__}: {text}"


def failure(network: str, method: str, error: BaseException) -> str:
    """`reason`, with network and method before it."""
    return f"{network}: {method} {reason(error)}"


def operation(node: Any) -> str:
    """ONNX name of a node's operation."""
    return type(node).__name__.removeprefix("Bound")


class _Collector(logging.Handler):
    """Picks the names of operations out of the library's error log."""

    def __init__(self) -> None:
        super().__init__()
        self._found: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self._found += re.findall(r"\b(?:onnx|aten|prim)::\w+", record.getMessage())

    @property
    def operations(self) -> str:
        return ", ".join(dict.fromkeys(self._found))
