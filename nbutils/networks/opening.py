"""Open any ONNX image classifier: torch twin, onnxruntime session, parity check, card.

The ONNX file is the truth. Its bytes are read once and hashed; the same bytes feed onnxruntime and the torch
twin, and both have to give the same logits before anything else sees the network.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnxruntime
import torch

from ..core import NetworkError, Normalization, require, settings, stream
from .cards import NetworkCard, card_path, describe_file, list_networks, write_card
from .constants import with_constants_stored
from .fast_twin import ROWS, steady
from .making_twins import evaluate, make_twin
from .onnx_files import parse, ports, read_bytes, taking_images
from .opsets import opset_of

__all__ = ["Network", "NetworkCard", "card_path", "list_networks", "open_network", "write_card"]

_PARITY_ROWS = 8
_ROWS_AT_ONCE = 256


@dataclass(frozen=True, eq=False)
class Network:
    """One opened classifier. Inputs are float32 [N, C, H, W] in network input space, outputs logits float32 [N, K]."""

    path: Path
    card: NetworkCard
    module: torch.nn.Module  # the twin: eval mode, frozen parameters, float32, on `device`
    session: onnxruntime.InferenceSession  # the judge, on the CPU
    device: torch.device

    @property
    def name(self) -> str:
        """File name without its ending."""
        return self.card.name

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """(C, H, W)."""
        return self.card.input_shape

    @property
    def declared_input(self) -> tuple[int, ...]:
        """Input dimensions after the batch as the file declares them: (C, H, W), or (n,) or (n, 1) for a vector."""
        return self.card.flat or self.card.input_shape

    @property
    def classes(self) -> int:
        """Number of logits, K."""
        return self.card.classes

    @property
    def normalization(self) -> Normalization | None:
        """What the network expects its pixels to be normalised with; None where no card says so."""
        return self.card.normalization

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits of the twin, [N, K] on `device`, for `x` float32 [N, C, H, W]; gradients flow to `x`.

        On the CPU neither a row's logits nor its gradient depend, to the bit, on the batch it stands in: batches
        are filled up to a multiple of `fast_twin.ROWS` (measured with MKL, 1 to 32 threads), and linear layers take
        `fast_twin.LINEAR_ROWS` at once. `module` itself does not do this.
        """
        missing = -len(x) % ROWS
        filled = torch.cat([x, x[-1:].detach().expand(missing, -1, -1, -1)]) if missing else x
        return steady(self.module)(filled)[: len(x)]

    def logits(self, x: np.ndarray) -> np.ndarray:
        """Logits of the torch twin, float32 [N, K], for `x` float32 [N, C, H, W]."""
        self._check(x)
        chunks = [x[row : row + _ROWS_AT_ONCE] for row in range(0, len(x), _ROWS_AT_ONCE)]
        parts = [evaluate(self.forward, chunk, self.device) for chunk in chunks]
        return np.concatenate(parts) if parts else self._nothing()

    def judge(self, x: np.ndarray) -> np.ndarray:
        """Logits of onnxruntime on the CPU, float32 [N, K], for `x` float32 [N, C, H, W].

        Every row is evaluated alone, as the replay of counterexamples does, so no row depends on its neighbours.
        """
        self._check(x)
        return _run_rows(self.session, x) if len(x) else self._nothing()

    def describe(self) -> str:
        """The card as plain text, and where the twin runs."""
        return f"{self.card.describe()}\ndevice: {self.device}"

    def _check(self, x: np.ndarray) -> None:
        found = (str(x.dtype), x.shape) if isinstance(x, np.ndarray) else type(x).__name__
        ok = isinstance(x, np.ndarray) and x.dtype == np.float32 and x.shape[1:] == self.input_shape
        allowed = f"a float32 array [N, {', '.join(map(str, self.input_shape))}]"
        require(ok, f"input of network {self.name}", found, allowed, error=NetworkError)

    def _nothing(self) -> np.ndarray:
        return np.empty((0, self.classes), dtype=np.float32)


def open_network(name_or_path: str | Path, *, device: str = "auto") -> Network:
    """Open an ONNX classifier.

    Args:
        name_or_path: name of a network in `onnx/`, or path of an .onnx or .onnx.gz file.
        device: where the twin runs: "auto" (CUDA where there is one, else CPU), "cpu", "cuda" or "cuda:1".

    Raises:
        NetworkError: if the file is missing, damaged, no classifier of images, holds NaN, uses operators that
            the twin lacks, or if twin and onnxruntime disagree.

    Example:
        >>> network = open_network("CIFAR100_resnet_small", device="cpu")
        >>> network.input_shape, network.classes
        ((3, 32, 32), 100)
    """
    path = _find(name_or_path)
    return open_data(read_bytes(path), path, device=device)


def open_data(data: bytes, path: Path, *, device: str = "auto", card: bool = True) -> Network:
    """Open the ONNX file of these bytes.

    Args:
        data: the file, unpacked.
        path: where it came from, for messages and for its card.
        device: as for `open_network`.
        card: read the card beside `path`; False for bytes that are not that file's.

    Raises:
        NetworkError: see `open_network`.
    """
    where = _device(device)
    model = parse(data, path)
    ends = ports(model, path)
    if ends.flat:
        model = taking_images(model, ends)
        taken = ports(model, path)
        session = _session(model.SerializeToString(), path, opset_of(model))
    else:
        taken, session = ends, _session(data, path, opset_of(model))
    model = with_constants_stored(model)
    probes = stream("parity").standard_normal((_PARITY_ROWS, *ends.input_shape)).astype(np.float32)
    expected = _judge_probes(session, probes, path)
    module, batched = make_twin(model, taken, probes, expected, where, path)
    facts = describe_file(path, data, model, ends, classes=expected.shape[1], batched=batched, card=card)
    return Network(path=path, card=facts, module=module, session=session, device=where)


def _find(name_or_path: str | Path) -> Path:
    path = Path(name_or_path).expanduser()
    if isinstance(name_or_path, Path) or os.sep in name_or_path:
        return path
    folder = settings.root() / "onnx"
    for candidate in (folder / name_or_path, folder / f"{name_or_path}.onnx", folder / f"{name_or_path}.onnx.gz", path):
        if os.path.isfile(candidate):  # False, not an error, for what can be no file name
            return candidate
    known = ", ".join(list_networks()) or "none yet"
    hint = "put another .onnx file there, or give its path"
    require(False, "network", name_or_path, f"a network in {folder}: {known}", hint, error=NetworkError)
    return path


def _device(device: str) -> torch.device:
    cuda = torch.cuda.is_available()
    if device == "auto":
        device = "cuda" if cuda else "cpu"
    known = ["cpu", "cuda", *(f"cuda:{number}" for number in range(torch.cuda.device_count()))] if cuda else ["cpu"]
    require(device in known, "device", device, ", ".join(["auto", *known]) + " on this machine", error=NetworkError)
    if device != "cpu":  # TF32 errs by more than a counterexample's margin
        torch.backends.cuda.matmul.allow_tf32 = False
        torch.backends.cudnn.allow_tf32 = False
        torch.backends.cudnn.deterministic = True
    return torch.device(device)


def _session(data: bytes, path: Path, opset: int) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1  # one row is too little work to share, and workers share the machine
    options.log_severity_level = 3
    try:
        return onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    except Exception as error:
        reason = str(error).strip().splitlines()[0]
        hint = f"The file has opset {opset}: export it again, with opset 13 say"
        raise NetworkError(f"{path}: onnxruntime refuses it ({reason}). {hint}.") from error


def _run_rows(session: onnxruntime.InferenceSession, x: np.ndarray) -> np.ndarray:
    name = session.get_inputs()[0].name
    return np.concatenate([session.run(None, {name: np.ascontiguousarray(row[None])})[0] for row in x])


def _judge_probes(session: onnxruntime.InferenceSession, probes: np.ndarray, path: Path) -> np.ndarray:
    try:
        logits = _run_rows(session, probes)
    except Exception as error:
        reason = str(error).strip().splitlines()[0]
        raise NetworkError(f"{path}: onnxruntime cannot evaluate it ({reason}). Export it again.") from error
    require(
        logits.ndim == 2 and logits.shape[0] == len(probes) and logits.shape[1] >= 2,
        f"{path}: logits of {len(probes)} images",
        logits.shape,
        f"[{len(probes)}, K] with 2 classes or more",
        "a classifier gives one logit a class",
        error=NetworkError,
    )
    finite = bool(np.isfinite(logits).all())
    require(finite, f"{path}: logits", "NaN or infinity on random inputs", "finite numbers", error=NetworkError)
    return logits
