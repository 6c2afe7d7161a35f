"""Small networks with one operator in one form each: what users bring, for the table of operators and the fuzz tests.

Every network takes 2 x 6 x 6 values and has three classes: convolution, ReLU, the operator, ReLU where it keeps images,
flatten, dense layer. Weights are drawn; those of a dense layer are made for the size that the operator leaves.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

INPUT = (2, 6, 6)
CLASSES = 3
CHANNELS = 4  # behind the convolution


@dataclass(frozen=True)
class Form:
    """One operator in one form. `build(graph, x)` adds nodes that read `x` and returns the name of what they give."""

    name: str
    build: Callable[[Graph, str], str]
    opset: int = 13
    places: tuple[str, ...] = ("relu",)  # what it reads: the image itself, the convolution or the ReLU


@dataclass
class Graph:
    """Nodes and weights of a network that is being put together."""

    rng: np.random.Generator
    nodes: list[onnx.NodeProto] = field(default_factory=list)
    weights: dict[str, np.ndarray] = field(default_factory=dict)
    channels: int = INPUT[0]  # of what the operator reads

    def node(self, operator: str, inputs: list[str], **attributes: object) -> str:
        """Add a node; returns the name of its output."""
        out = f"v{len(self.nodes)}"
        self.nodes.append(helper.make_node(operator, inputs, [out], **attributes))
        return out

    def weight(self, values: object) -> str:
        """Add a constant; returns its name."""
        name = f"w{len(self.weights)}"
        self.weights[name] = np.asarray(values)
        return name

    def drawn(self, *shape: int, scale: float = 0.5) -> str:
        """Add normally distributed weights."""
        return self.weight((scale * self.rng.standard_normal(shape)).astype(np.float32))


def network(form: Form, place: str, seed: int, folder: Path) -> Path:
    """Write the network of `form` reading `place` with weights of `seed`, an odd one as nodes; returns the file."""
    graph = Graph(np.random.default_rng(seed))
    x = "x"
    if place != "image":
        x = graph.node("Conv", [x, graph.drawn(CHANNELS, 2, 3, 3), graph.drawn(CHANNELS)], pads=[1, 1, 1, 1])
        graph.channels = CHANNELS
        if place == "relu":
            x = graph.node("Relu", [x])
    out = form.build(graph, x)
    sizes = _shape(graph, out, form.opset)
    if len(sizes) == 4:
        out = graph.node("Relu", [out])
    if len(sizes) != 2 or sizes[1] != CLASSES:
        out = graph.node("Flatten", [out])
        inputs = int(np.prod(sizes[1:]))
        head = [out, graph.drawn(CLASSES, inputs, scale=inputs**-0.5), graph.drawn(CLASSES)]
        out = graph.node("Gemm", head, transB=1)
    path = folder / f"{form.name.replace(' ', '_').replace('/', '-')}-{place}-{seed}.onnx"
    model = _model(graph, out, form.opset, [1, CLASSES])
    if seed % 2:
        _constants_as_nodes(model)
    onnx.save(model, path)
    return path


def _constants_as_nodes(model: onnx.ModelProto) -> None:
    """Stored tensors become nodes of the graph, as some exporters write them."""
    nodes = [helper.make_node("Constant", [], [tensor.name], value=tensor) for tensor in model.graph.initializer]
    nodes += model.graph.node
    del model.graph.node[:], model.graph.initializer[:]
    model.graph.node.extend(nodes)


def _model(graph: Graph, out: str, opset: int, shape: list[int] | None) -> onnx.ModelProto:
    value = helper.make_tensor_value_info
    made = helper.make_graph(
        graph.nodes,
        "form",
        [value("x", TensorProto.FLOAT, [1, *INPUT])],
        [value(out, TensorProto.FLOAT, shape)],
        [numpy_helper.from_array(array, name) for name, array in graph.weights.items()],
    )
    return helper.make_model(made, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


def _shape(graph: Graph, out: str, opset: int) -> list[int]:
    import onnxruntime

    model = _model(graph, out, opset, None)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return list(session.run(None, {"x": np.zeros((1, *INPUT), np.float32)})[0].shape)


def plain(operator: str, *, opset: int = 13, places: tuple[str, ...] = ("relu", "conv"), **attributes: object) -> Form:
    """An operator of one input."""
    said = " ".join(f"{name}={value}" for name, value in attributes.items())
    name = f"{operator} {said}".strip().replace("[", "").replace("]", "").replace(", ", ",").replace("b'", "")
    return Form(name, lambda graph, x: graph.node(operator, [x], **attributes), opset, places)


def conv(
    name: str, channels: int = 3, kernel: int = 3, groups: int = 1, bias: bool = True, **attributes: object
) -> Form:
    """A convolution; `groups` 0 is depthwise."""

    def build(graph: Graph, x: str) -> str:
        inputs = graph.channels
        parts, outputs = (inputs, inputs) if groups == 0 else (groups, channels)
        weights = [x, graph.drawn(outputs, inputs // parts, kernel, kernel)] + ([graph.drawn(outputs)] if bias else [])
        return graph.node("Conv", weights, group=parts, **attributes)

    return Form(f"Conv {name}".strip(), build, places=("image", "relu"))


def with_constant(operator: str, name: str, shape: tuple[int, ...], first: bool = False, low: float = 0.5) -> Form:
    """An operator of a value and a constant of `shape` (0 stands for the number of channels)."""

    def build(graph: Graph, x: str) -> str:
        sizes = tuple(graph.channels if size == 0 else size for size in shape)
        constant = graph.weight(graph.rng.uniform(low, 1.5, sizes).astype(np.float32))
        return graph.node(operator, [constant, x] if first else [x, constant])

    return Form(f"{operator} {name}", build, places=("relu", "conv"))


def two_branches(operator: str, count: int = 2) -> Form:
    """An operator of values that all depend on the image."""

    def build(graph: Graph, x: str) -> str:
        inputs = graph.channels
        rest = [
            graph.node("Conv", [x, graph.drawn(inputs, inputs, 1, 1), graph.drawn(inputs)]) for _ in range(count - 1)
        ]
        return graph.node(operator, [x, *rest])

    return Form(f"{operator} of {count} branches", build, places=("relu", "conv"))


def built(name: str, build: Callable[[Graph, str], str], *places: str, opset: int = 13) -> Form:
    """A form of several nodes."""
    return Form(name, build, opset, places or ("relu",))


def _slice(graph: Graph, x: str, starts: list[int], ends: list[int], axes: list[int], steps: list[int]) -> str:
    return graph.node("Slice", [x, *(graph.weight(np.int64(part)) for part in (starts, ends, axes, steps))])


def _pad(graph: Graph, x: str, pads: list[int], value: float | None = None, mode: str = "constant") -> str:
    more = [] if value is None else [graph.weight(np.float32(value))]
    return graph.node("Pad", [x, graph.weight(np.int64(pads)), *more], mode=mode)


def _norm(graph: Graph, x: str) -> str:
    n = graph.channels
    parts = [graph.weight(graph.rng.uniform(0.5, 1.5, n).astype(np.float32)), graph.drawn(n), graph.drawn(n)]
    return graph.node("BatchNormalization", [x, *parts, graph.weight(graph.rng.uniform(0.5, 2, n).astype(np.float32))])


def _transposed(graph: Graph, x: str, **attributes: object) -> str:
    return graph.node("ConvTranspose", [x, graph.drawn(graph.channels, 3, 3, 3), graph.drawn(3)], **attributes)


def _head(graph: Graph, x: str, kind: str) -> str:
    out, inputs = graph.node("Flatten", [x]), graph.channels * 36
    if kind in ("matmul", "matmul add"):
        out = graph.node("MatMul", [out, graph.drawn(inputs, CLASSES, scale=0.1)])
        return graph.node("Add", [out, graph.drawn(CLASSES)]) if kind == "matmul add" else out
    shape, attributes = {
        "no bias": ((CLASSES, inputs), {"transB": 1}),
        "not transposed": ((inputs, CLASSES), {}),
        "alpha 0.5 beta 2": ((CLASSES, inputs), {"transB": 1, "alpha": 0.5, "beta": 2.0}),
    }[kind]
    bias = [] if kind == "no bias" else [graph.drawn(CLASSES)]
    return graph.node("Gemm", [out, graph.drawn(*shape, scale=0.1), *bias], **attributes)


def _clip(graph: Graph, x: str, low: float, high: float | None) -> str:
    ends = [graph.weight(np.float32(end)) for end in (low, high) if end is not None]
    return graph.node("Clip", [x, *ends])


def _prelu(graph: Graph, x: str, kind: str) -> str:
    shape = {"one slope": (1,), "a slope a channel": (graph.channels, 1, 1), "a slope an element": (1, 6, 6)}[kind]
    return graph.node("PRelu", [x, graph.weight(graph.rng.uniform(-0.5, 1.5, shape).astype(np.float32))])


def _split(graph: Graph, x: str) -> str:
    half = graph.channels // 2
    names = [f"s{len(graph.nodes)}a", f"s{len(graph.nodes)}b"]
    graph.nodes.append(helper.make_node("Split", [x, graph.weight(np.int64([half, half]))], names, axis=1))
    return graph.node("Concat", [names[1], names[0]], axis=1)


def forms() -> Iterator[Form]:
    """All forms."""
    yield conv("3 x 3")
    yield conv("1 x 1", kernel=1)
    yield conv("even kernel", kernel=2)
    yield conv("padding", pads=[1, 1, 1, 1])
    yield conv("padding on one side", pads=[0, 0, 1, 2])
    yield conv("stride", strides=[2, 2])
    yield conv("dilation", dilations=[2, 2])
    yield conv("groups", channels=4, groups=2)
    yield conv("depthwise", groups=0)
    yield conv("without bias", bias=False)
    yield conv("auto_pad SAME_UPPER", auto_pad="SAME_UPPER", strides=[2, 2])
    yield conv("auto_pad SAME_LOWER", kernel=4, auto_pad="SAME_LOWER")
    yield conv("auto_pad VALID", auto_pad="VALID")
    yield built("ConvTranspose", lambda g, x: _transposed(g, x), "image", "relu")
    yield built("ConvTranspose stride", lambda g, x: _transposed(g, x, strides=[2, 2]), "relu")
    yield built("ConvTranspose padding", lambda g, x: _transposed(g, x, strides=[2, 2], pads=[1, 1, 1, 1]), "relu")
    yield built(
        "ConvTranspose output padding",
        lambda g, x: _transposed(g, x, strides=[2, 2], pads=[1, 1, 1, 1], output_padding=[1, 1]),
    )
    yield built("ConvTranspose auto_pad", lambda g, x: _transposed(g, x, strides=[3, 3], auto_pad="SAME_UPPER"), "relu")
    yield built("BatchNormalization", _norm, "image", "conv", "relu")
    for kind in ("no bias", "not transposed", "alpha 0.5 beta 2", "matmul", "matmul add"):
        yield built(f"head {kind}", lambda g, x, kind=kind: _head(g, x, kind), "relu", "image")
    for operator in (
        "Relu", "Sigmoid", "Tanh", "Elu", "Selu", "Softplus", "Softsign", "HardSigmoid", "Erf", "Abs", "Neg", "Exp",
        "Floor", "Sign", "Round", "Sin", "Cos", "Identity", "Dropout",
    ):  # fmt: skip
        yield plain(operator)
    yield plain("Celu", alpha=1.0)
    yield plain("HardSwish", opset=14)
    yield plain("LeakyRelu", alpha=0.01)
    yield plain("LeakyRelu", alpha=0.5)
    yield plain("HardSigmoid", alpha=0.5, beta=0.25)
    for kind in ("one slope", "a slope a channel", "a slope an element"):
        yield built(f"PRelu {kind}", lambda g, x, kind=kind: _prelu(g, x, kind), "conv", "image")
    for low, high in ((0.0, 6.0), (-1.0, 1.0), (0.25, None)):
        yield built(f"Clip {low} to {high}", lambda g, x, a=low, b=high: _clip(g, x, a, b), "conv", "relu")
    for operator in ("Add", "Sub", "Mul", "Div", "Max", "Min"):
        for name, shape in (("one constant", ()), ("a constant a channel", (0, 1, 1)), ("constants", (1, 0, 6, 6))):
            yield with_constant(operator, name, shape)
    for operator in ("Sub", "Div"):
        yield with_constant(operator, "from a constant", (0, 1, 1), first=True)
    yield built("Pow 2", lambda g, x: g.node("Pow", [x, g.weight(np.float32(2))]), "conv")
    yield built("Sqrt", lambda g, x: g.node("Sqrt", [g.node("Add", [x, g.weight(np.float32(1))])]))
    yield built("Log", lambda g, x: g.node("Log", [g.node("Add", [x, g.weight(np.float32(1))])]))
    yield built("Reciprocal", lambda g, x: g.node("Reciprocal", [g.node("Add", [x, g.weight(np.float32(1))])]))
    for operator, count in (
        ("Add", 2),
        ("Sub", 2),
        ("Mul", 2),
        ("Sum", 2),
        ("Sum", 3),
        ("Max", 2),
        ("Min", 2),
        ("Mean", 2),
    ):
        yield two_branches(operator, count)
    for name, attributes in {
        "2 by 2": {"kernel_shape": [2, 2], "strides": [2, 2]},
        "3 by 1": {"kernel_shape": [3, 3], "strides": [1, 1]},
        "3 by 2": {"kernel_shape": [3, 3], "strides": [2, 2]},
        "padding": {"kernel_shape": [3, 3], "strides": [1, 1], "pads": [1, 1, 1, 1]},
        "padding counted": {
            "kernel_shape": [3, 3], "strides": [1, 1], "pads": [1, 1, 1, 1], "count_include_pad": 1,
        },
        "padding, 2 by 2": {"kernel_shape": [2, 2], "strides": [2, 2], "pads": [1, 1, 1, 1]},
        "ceil_mode": {"kernel_shape": [3, 3], "strides": [2, 2], "ceil_mode": 1},
        "not square": {"kernel_shape": [2, 3], "strides": [2, 1]},
        "auto_pad SAME_UPPER": {"kernel_shape": [3, 3], "strides": [2, 2], "auto_pad": "SAME_UPPER"},
        "padding on one side": {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [0, 0, 1, 1]},
        "padding on one side counted": {
            "kernel_shape": [3, 3], "strides": [2, 2], "pads": [1, 0, 0, 0], "count_include_pad": 1
        },
    }.items():  # fmt: skip
        yield built(
            f"AveragePool {name}", lambda g, x, a=attributes: g.node("AveragePool", [x], **a), "image", "conv", "relu"
        )
    for name, attributes in {
        "2 by 2": {"kernel_shape": [2, 2], "strides": [2, 2]},
        "3 by 2": {"kernel_shape": [3, 3], "strides": [2, 2]},
        "padding": {"kernel_shape": [3, 3], "strides": [3, 3], "pads": [1, 1, 1, 1]},
        "ceil_mode": {"kernel_shape": [3, 3], "strides": [2, 2], "ceil_mode": 1},
        "dilation": {"kernel_shape": [2, 2], "strides": [2, 2], "dilations": [2, 2]},
        "auto_pad SAME_UPPER": {"kernel_shape": [3, 3], "strides": [3, 3], "auto_pad": "SAME_UPPER"},
        "padding on one side": {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [0, 0, 1, 1]},
    }.items():
        yield built(f"MaxPool {name}", lambda g, x, a=attributes: g.node("MaxPool", [x], **a), "conv", "relu")
    yield plain("GlobalAveragePool", places=("image", "relu"))
    yield plain("GlobalMaxPool")
    for operator in ("ReduceMean", "ReduceMax", "ReduceMin"):
        yield plain(operator, axes=[2, 3], keepdims=1)
        yield plain(operator, axes=[2, 3], keepdims=0)
    yield built("ReduceSum", lambda g, x: g.node("ReduceSum", [x, g.weight(np.int64([2, 3]))], keepdims=0))
    yield built("Pad zeros", lambda g, x: _pad(g, x, [0, 0, 1, 1, 0, 0, 1, 1]), "image", "conv", "relu")
    yield built("Pad zeros on one side", lambda g, x: _pad(g, x, [0, 0, 0, 1, 0, 0, 2, 0]), "image", "relu")
    yield built("Pad by a value", lambda g, x: _pad(g, x, [0, 0, 1, 1, 0, 0, 1, 1], 0.7), "image", "relu")
    yield built("Pad channels", lambda g, x: _pad(g, x, [0, 1, 0, 0, 0, 2, 0, 0]), "relu")
    for mode in ("reflect", "edge"):
        yield built(f"Pad {mode}", lambda g, x, m=mode: _pad(g, x, [0, 0, 1, 1, 0, 0, 1, 1], mode=m), "image", "relu")
    yield built("Slice crop", lambda g, x: _slice(g, x, [1, 2], [5, 6], [2, 3], [1, 1]), "image", "relu")
    yield built("Slice step", lambda g, x: _slice(g, x, [0, 1], [6, 6], [2, 3], [2, 2]), "image", "relu")
    yield built("Slice channels", lambda g, x: _slice(g, x, [1], [2], [1], [1]), "image", "relu")
    yield built("Slice backwards", lambda g, x: _slice(g, x, [-1], [-7], [3], [-1]), "relu")
    yield built("Split and Concat", _split, "image", "relu")
    yield built("Concat channels", lambda g, x: g.node("Concat", [x, g.node("Relu", [x])], axis=1), "conv")
    yield built("Concat rows", lambda g, x: g.node("Concat", [x, g.node("Relu", [x])], axis=2), "conv")
    yield built("Gather channels", lambda g, x: g.node("Gather", [x, g.weight(np.int64([1, 0]))], axis=1), "relu")
    yield plain("Transpose", perm=[0, 2, 3, 1], places=("relu", "image"))
    yield built("Reshape", lambda g, x: g.node("Reshape", [x, g.weight(np.int64([1, -1, 3, 12]))]), "relu", "image")
    yield built("Unsqueeze and Squeeze", lambda g, x: g.node(
        "Squeeze", [g.node("Unsqueeze", [x, g.weight(np.int64([2]))]), g.weight(np.int64([2]))]))  # fmt: skip
    yield plain("DepthToSpace", blocksize=2)
    yield plain("DepthToSpace", blocksize=2, mode="CRD", places=("relu",))
    yield plain("SpaceToDepth", blocksize=2)
    yield built("Resize nearest", lambda g, x: g.node(
        "Resize", [x, "", g.weight(np.float32([1, 1, 2, 2]))], mode="nearest", nearest_mode="floor",
        coordinate_transformation_mode="asymmetric"))  # fmt: skip
    yield plain("LRN", size=3)
    yield plain("Softmax", axis=1)
    yield built("InstanceNormalization", lambda g, x: g.node(
        "InstanceNormalization", [x, g.drawn(g.channels), g.drawn(g.channels)]))  # fmt: skip


def cases() -> Iterator[tuple[Form, str]]:
    """Every form at every place that it is tried at."""
    for form in forms():
        for place in form.places:
            yield form, place
