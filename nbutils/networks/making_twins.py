"""The torch twin of an ONNX file, by onnx2torch, held against what onnxruntime computes."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import numpy as np
import onnx
import torch
from onnx2torch import convert
from onnx2torch.node_converters import get_converter

from ..core import NetworkError, require
from .onnx_files import Ports, free_batch
from .opsets import opset_of, restated

PARITY = 1e-4
"""Largest difference allowed between twin and onnxruntime, relative to the largest logit (1 if that is smaller)."""

# onnx2torch warns where torch may differ from ONNX (Resize) or at a call that torch deprecates (Slice); whether they
# differ is found out here, on numbers
warnings.filterwarnings("ignore", category=UserWarning, module=r"onnx2torch\.")


def make_twin(
    model: onnx.ModelProto, ends: Ports, probes: np.ndarray, expected: np.ndarray, device: torch.device, path: Path
) -> tuple[torch.nn.Module, bool]:
    """The twin of the file as it is, else of the first form in another opset that is the same network.

    Args:
        model: the file.
        ends: its input and output.
        probes: float32 [N, C, H, W] at which both are compared.
        expected: logits [N, K] of onnxruntime there.
        device: where the twin is to run.
        path: of the file, for messages.

    Returns:
        the twin in evaluation mode, and whether it takes whole batches in one pass.

    Raises:
        NetworkError: no form has one; the message is about the file as it is.
    """
    try:
        return _twin(model, ends, probes, expected, device, path)
    except NetworkError as error:
        for form in restated(model):
            with suppress(NetworkError):
                return _twin(form, ends, probes, expected, device, path)
        raise error


def _require_convertible(model: onnx.ModelProto, path: Path) -> None:
    versions = {entry.domain: entry.version for entry in model.opset_import}
    missing = set()
    for node in model.graph.node:
        try:
            get_converter(operation_type=node.op_type, version=versions.get(node.domain, 1), domain=node.domain)
        except NotImplementedError:
            missing.add(node.op_type)
    allowed = f"operators that onnx2torch converts; the file has opset {opset_of(model)}, and no other was found for it"
    hint = "Export the network with opset 13, or with plainer operators"
    require(not missing, f"{path}: operators", sorted(missing), allowed, hint, error=NetworkError)


class _RowByRow(torch.nn.Module):
    """A twin whose file only allows batches of one."""

    def __init__(self, module: torch.nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.cat([self.module(row) for row in x.split(1)])


def _twin(
    model: onnx.ModelProto, ends: Ports, probes: np.ndarray, expected: np.ndarray, device: torch.device, path: Path
) -> tuple[torch.nn.Module, bool]:
    """The torch twin, and whether it takes whole batches in one pass."""
    _require_convertible(model, path)
    allowed = PARITY * max(1.0, float(np.abs(expected).max()))
    wrong = ""
    for batched in (True, False):
        try:
            module = convert(free_batch(model, ends)) if batched else _RowByRow(convert(model))
            module = module.eval().requires_grad_(False).to(device)
            found = [evaluate(module, rows, device) for rows in (probes, probes[:1])]
        except Exception as error:  # whatever the converter or the converted operators raise
            wrong = f"it fails with {_reason(error)}"
            continue
        wrong = _difference(np.concatenate(found), np.concatenate([expected, expected[:1]]), allowed)
        if not wrong:
            return module, batched
    raise NetworkError(
        f"{path}: the torch twin made by onnx2torch is not the network onnxruntime evaluates: {wrong}. The file has "
        f"opset {opset_of(model)}: export it with another or simplify it; as it is, it cannot be analysed."
    )


def _reason(error: Exception) -> str:
    """Kind and first line of what a library raised; an assertion may have none."""
    return ": ".join([type(error).__name__, *str(error).strip().splitlines()[:1]])


def evaluate(network: Callable[[torch.Tensor], torch.Tensor], x: np.ndarray, device: torch.device) -> np.ndarray:
    """Logits [N, K] of `network`, which runs on `device`, for `x` float32 [N, C, H, W]."""
    with torch.inference_mode():
        return network(torch.from_numpy(np.ascontiguousarray(x)).to(device)).cpu().numpy()


def _difference(found: np.ndarray, expected: np.ndarray, allowed: float) -> str:
    """What is wrong with `found`, empty if nothing is."""
    if found.shape != expected.shape:
        return f"logits of shape {found.shape[1:]} instead of {expected.shape[1:]}"
    largest = float(np.abs(found.astype(np.float64) - expected).max())
    return "" if largest <= allowed else f"logits differ by {largest:.2e}, allowed are {allowed:.1e}"
