"""A trained network as the ONNX file that verifiers read.

As the published files are: batch norms stay nodes, opset 13, dynamic batch, normalised input [N, C, H, W], every
initialiser belongs to one node.
"""

from __future__ import annotations

import copy
import io
import warnings
from pathlib import Path
from typing import Any, cast

import numpy as np
import onnx
import onnxruntime
import torch

from ..core import NetworkError, Normalization, require, write_atomically
from ..networks import Figure, ResNet, in_memory_format, parameter_count, write_card

OPSET = 13
PARITY = 1e-4  # largest difference to onnxruntime, relative to the largest logit or 1


def export_onnx(
    network: ResNet,
    path: Path,
    *,
    dataset: str | None = None,
    normalization: Normalization | None = None,
    recipe: str = "",
    figures: dict[str, Figure] | None = None,
) -> Path:
    """Write `network` in evaluation mode to `path` and its card beside it; the file appears once it is checked.

    Raises:
        NetworkError: when the file disagrees with the network, or holds another number of values than it.
        ExportError: when the folder cannot be written.
    """
    data = onnx_bytes(network)
    write_atomically(path, lambda file: file.write(data))
    write_card(path, dataset=dataset, normalization=normalization, recipe=recipe, figures=figures)
    return path


def onnx_bytes(network: ResNet) -> bytes:
    """The checked ONNX file of `network` in evaluation mode.

    Raises:
        NetworkError: when onnxruntime disagrees by more than `PARITY`, or the number of values is not the network's.
    """
    network = in_memory_format(copy.deepcopy(network).to("cpu", torch.float32), torch.contiguous_format).eval()
    finite = all(bool(torch.isfinite(value).all()) for value in network.state_dict().values())
    require(finite, network.architecture.name, "NaN or infinite weights", "finite weights", error=NetworkError)
    example = torch.from_numpy(_probes(network))
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter announces its successor, which folds batch norms
        torch.onnx.export(
            network,
            (example,),
            cast(Any, buffer),  # the exporter writes to files in memory as well
            opset_version=OPSET,
            dynamo=False,
            training=torch.onnx.TrainingMode.PRESERVE,  # EVAL would fold batch norms into convolutions
            do_constant_folding=False,
            input_names=["input"],
            output_names=["logits"],
            dynamic_axes={"input": {0: "batch"}, "logits": {0: "batch"}},
        )
    model = own_initializers(onnx.load_from_string(buffer.getvalue()))
    onnx.checker.check_model(model)
    values = sum(int(np.prod(tensor.dims)) for tensor in model.graph.initializer)
    require(
        values == parameter_count(network),
        f"{network.architecture.name}: values in the exported file",
        values,
        f"{parameter_count(network)}, as the network has",
        error=NetworkError,
    )
    data = model.SerializeToString()
    check_parity(network, data, network.architecture.name)
    return data


def own_initializers(model: onnx.ModelProto) -> onnx.ModelProto:
    """`model`, with each initialiser that an Identity node passes on copied under that node's name and the node gone.

    torch stores equal tensors once and shares them through Identity nodes.
    """
    stored = {tensor.name: tensor for tensor in model.graph.initializer}
    for node in [node for node in model.graph.node if node.op_type == "Identity" and node.input[0] in stored]:
        twin = onnx.TensorProto()
        twin.CopyFrom(stored[node.input[0]])
        twin.name = node.output[0]
        stored[twin.name] = twin
        model.graph.initializer.append(twin)
        model.graph.node.remove(node)
    return model


def _probes(network: ResNet) -> np.ndarray:
    shape = (3, *network.architecture.input_shape)
    return np.random.default_rng(0).uniform(-2, 2, shape).astype(np.float32)


def check_parity(network: ResNet, data: bytes, name: str, hint: str = "") -> None:
    """Compare `network`, in evaluation mode on the CPU, with onnxruntime on the ONNX file `data`, called `name`.

    Raises:
        NetworkError: when they differ by more than `PARITY`.
    """
    x = _probes(network)
    with torch.no_grad():
        expected = network(torch.from_numpy(x)).numpy()
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    source = session.get_inputs()[0]
    rows = [session.run(None, {source.name: x[row : row + 1]})[0] for row in range(len(x))]
    found = [np.concatenate(rows)]
    if source.shape[0] != 1:  # the file takes batches
        found.append(session.run(None, {source.name: x})[0])
    worst = max(float(np.abs(logits - expected).max()) for logits in found)
    allowed = PARITY * max(1.0, float(np.abs(expected).max()))
    require(
        worst <= allowed,
        f"{name}: difference between torch and onnxruntime",
        worst,
        f"at most {allowed:.2e}",
        hint,
        error=NetworkError,
    )
