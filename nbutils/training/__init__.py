"""Adversarial and certified training of the networks in `resnets`, and their way into an ONNX file."""

from .checkpoint import CheckpointError
from .config import RECIPES, TrainConfig, recipe
from .log import TrainingLog, read_log
from .loop import TrainingError, train
from .losses import LOSSES
from .onnx_export import export_onnx, onnx_bytes
from .onnx_import import import_onnx
from .weights import load_network

__all__ = [
    "LOSSES",
    "RECIPES",
    "CheckpointError",
    "TrainConfig",
    "TrainingError",
    "TrainingLog",
    "export_onnx",
    "import_onnx",
    "load_network",
    "onnx_bytes",
    "read_log",
    "recipe",
    "train",
]
