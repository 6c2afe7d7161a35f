"""A network's card: what its ONNX file says, and beside it what only its makers can say.

`NAME.json` next to `NAME.onnx` gives data set, normalisation, recipe and measured figures, and the SHA-256 of
the file they are about. Everything else on a `NetworkCard` is computed from the file.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import textwrap
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from math import prod
from pathlib import Path
from types import MappingProxyType
from typing import Any

import onnx

from ..core import NetworkError, Normalization, foreign_json, require, settings
from .card_figures import Figure, is_number, read_figures
from .graph_start import GraphStart, graph_start
from .onnx_files import Ports, read_bytes, stored_tensors

_WEIGHTED = ("Conv", "ConvTranspose", "Gemm", "MatMul")
_KEYS = ("sha256", "dataset", "normalization", "recipe", "figures")


@dataclass(frozen=True)
class NetworkCard:
    """What is known of one network. The first block is computed from the file, the second is its JSON card's."""

    name: str
    sha256: str  # of the ONNX file, unpacked
    megabytes: float  # 10^6 bytes, unpacked
    opset: int
    ops: Mapping[str, int]  # operator -> number of nodes
    parameters: int  # float values stored as tensors, batch-norm statistics included
    layers: int  # Conv and Gemm on the longest path from input to logits: shortcuts do not count
    input_shape: tuple[int, int, int]  # (C, H, W)
    classes: int
    batched: bool  # False: the torch twin takes a batch row by row, the file allows nothing else
    start: GraphStart | None = None  # a normalisation that the file itself begins with
    flat: tuple[int, ...] = ()  # input dimensions after the batch where the file takes vectors

    dataset: str | None = None  # name of an image source, as "cifar100"
    normalization: Normalization | None = None
    recipe: str = ""
    figures: Mapping[str, Figure] = field(default_factory=lambda: MappingProxyType({}))

    def describe(self) -> str:
        """The card as lines of plain text, for notebooks and terminals."""
        ops = ", ".join(f"{count} {op}" for op, count in sorted(self.ops.items(), key=lambda pair: (-pair[1], pair[0])))
        norm = self.normalization
        rows = {
            "network": self.name,
            "sha256": self.sha256,
            "file": f"{self.megabytes:.1f} MB, opset {self.opset}",
            "input": f"[N, {', '.join(map(str, self.input_shape))}]"
            + ("" if self.batched else ", row by row")
            + (f", flattened to [N, {', '.join(map(str, self.flat))}]" if self.flat else ""),
            "classes": str(self.classes),
            "parameters": f"{self.parameters:,}",
            "layers": f"{self.layers} ({ops})",
            "data set": self.dataset or "unknown",
            "normalisation": f"mean {norm.mean}, std {norm.std}" if norm else "unknown: no card says it",
            "recipe": self._last_run(),
        }
        if norm is None and self.start is not None:
            rows["normalisation"] += f". {self.start.describe()}"
        rows |= {key: str(figure) for key, figure in self.figures.items()}
        width = max(map(len, rows))
        indent = " " * (width + 2)
        return "\n".join(
            textwrap.fill(text, 100, initial_indent=f"{key:<{width}}  ", subsequent_indent=indent)
            for key, text in rows.items()
        )

    def _last_run(self) -> str:
        """The last run of `recipe`, and where the others are told."""
        last, *earlier = training_runs(self.recipe) or ("unknown",)
        if not earlier:
            return last
        count = "1 run" if len(earlier) == 1 else f"{len(earlier)} runs"
        return f"{last}; {count} before it: {self.name}.json"


def training_runs(recipe: str) -> tuple[str, ...]:
    """The runs that a card's recipe tells of, the last one first: a run that begins with another's weights names it.

    The text is that of `training.provenance.account`; of any other it is one run, of an empty one none.
    """
    return tuple(part.strip() for part in re.split(r"; (?:which )?(?=begins with the )", recipe) if part.strip())


def list_networks() -> tuple[str, ...]:
    """Names of the networks in `onnx/`, sorted."""
    folder = settings.root() / "onnx"
    return tuple(sorted({stem(path) for end in ("*.onnx", "*.onnx.gz") for path in folder.glob(end)}))


def stem(path: Path) -> str:
    """File name without .onnx or .onnx.gz."""
    return path.name.removesuffix(".gz").removesuffix(".onnx")


def card_path(path: str | Path) -> Path:
    """Where the card of the ONNX file `path` stands."""
    path = Path(path)
    return path.with_name(stem(path) + ".json")


def describe_file(
    path: Path, data: bytes, model: onnx.ModelProto, ends: Ports, *, classes: int, batched: bool, card: bool = True
) -> NetworkCard:
    """The card of an opened file: facts out of `model`, the rest out of its JSON card where there is one and `card`."""
    sha256 = hashlib.sha256(data).hexdigest()
    return NetworkCard(
        name=stem(path),
        sha256=sha256,
        megabytes=len(data) / 1e6,
        opset=next(entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")),
        ops=MappingProxyType(dict(Counter(node.op_type for node in model.graph.node))),
        parameters=stored_floats(model),
        layers=depth(model),
        input_shape=ends.input_shape,
        classes=classes,
        batched=batched,
        start=graph_start(model, ends),
        flat=ends.flat,
        **(read_card(path, sha256, channels=ends.input_shape[0]) if card else {}),
    )


def write_card(
    path: str | Path,
    *,
    dataset: str | None = None,
    normalization: Normalization | None = None,
    recipe: str = "",
    figures: Mapping[str, Figure] | None = None,
) -> Path:
    """Write the card of the ONNX file `path` beside it, with the file's hash; returns the card's path.

    Written to a temporary file and renamed: a card is never half there.
    """
    target = card_path(path)
    card = {
        "sha256": hashlib.sha256(read_bytes(Path(path))).hexdigest(),
        "dataset": dataset,
        "normalization": asdict(normalization) if normalization else None,
        "recipe": recipe,
        "figures": {key: figure.as_dict() for key, figure in (figures or {}).items()},
    }
    card = json.loads(json.dumps(card))
    _checked(card, target, card["sha256"], channels=len(normalization.mean) if normalization else 0)
    partial = target.with_name(f".{target.name}.{os.getpid()}.partial")
    try:
        partial.write_text(json.dumps(card, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
        partial.replace(target)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise NetworkError(f"{target}: the card cannot be written ({error.strerror}). Choose another folder.") from None
    return target


def add_figures(path: str | Path, card: NetworkCard, figures: Mapping[str, Figure]) -> Path:
    """Write the card of the ONNX file `path` with `figures` beside those that `card` has; equal names are replaced."""
    return write_card(
        path,
        dataset=card.dataset,
        normalization=card.normalization,
        recipe=card.recipe,
        figures={**card.figures, **figures},
    )


def stored_floats(model: onnx.ModelProto) -> int:
    """Float values stored as tensors, batch-norm statistics included."""
    tensors = (tensor for _, tensor in stored_tensors(model) if tensor.data_type == onnx.TensorProto.FLOAT)
    return sum(prod(tensor.dims) for tensor in tensors)


def depth(model: onnx.ModelProto) -> int:
    """Conv and Gemm on the longest path from input to logits: shortcuts do not count."""
    depths: dict[str, int] = {}
    for node in model.graph.node:  # topologically sorted, as ONNX demands
        here = max((depths.get(name, 0) for name in node.input), default=0) + (node.op_type in _WEIGHTED)
        depths.update(dict.fromkeys(node.output, here))
    return max((depths.get(value.name, 0) for value in model.graph.output), default=0)


def read_card(network: Path, sha256: str, *, channels: int) -> dict[str, Any]:
    """What the JSON card of the ONNX file `network` says, as fields of `NetworkCard`; nothing where there is none.

    Raises:
        NetworkError: a card that is damaged, or about another file than the one of hash `sha256`.
    """
    path = card_path(network)
    if not path.exists():
        return {}
    try:
        card = foreign_json.parse(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise NetworkError(f"{path}: not a readable JSON card ({error}). Correct it or move it away.") from None
    return _checked(card, path, sha256, channels)


def _checked(card: Any, path: Path, sha256: str, channels: int) -> dict[str, Any]:
    """The card's contents as `NetworkCard` takes them."""
    require(isinstance(card, dict), f"{path}: card", card, "a JSON object", error=NetworkError)
    unknown = sorted(set(card) - set(_KEYS))
    require(not unknown, f"{path}: keys", unknown, ", ".join(_KEYS), "see onnx/README.md", error=NetworkError)
    require(
        card.get("sha256") == sha256,
        f"{path}: sha256",
        card.get("sha256"),
        f"{sha256}, the hash of the ONNX file beside it",
        "the card is about another file: restore that file, or measure this one and write its card anew",
        error=NetworkError,
    )
    norm, dataset, recipe = card.get("normalization"), card.get("dataset"), card.get("recipe", "")
    require(isinstance(dataset, str | None), f"{path}: dataset", dataset, "a name or null", error=NetworkError)
    require(isinstance(recipe, str), f"{path}: recipe", recipe, "a text", error=NetworkError)
    return {
        "dataset": dataset,
        "normalization": None if norm is None else _normalization(norm, path, channels),
        "recipe": recipe,
        "figures": read_figures(card.get("figures", {}), path),
    }


def _normalization(entry: Any, path: Path, channels: int) -> Normalization:
    ok = isinstance(entry, dict) and set(entry) == {"mean", "std"}
    lists = list(entry.values()) if ok else []
    require(
        ok and all(isinstance(v, list) and len(v) == channels and all(map(is_number, v)) for v in lists),
        f"{path}: normalization",
        entry,
        f"mean and std, each a list of {channels} numbers, one a channel of the network's input; or null",
        error=NetworkError,
    )
    require(all(s > 0 for s in entry["std"]), f"{path}: std", entry["std"], "numbers above 0", error=NetworkError)
    return Normalization(tuple(entry["mean"]), tuple(entry["std"]))
