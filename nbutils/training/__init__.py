"""Adversarial and certified training of the networks in `resnets`, and their way into an ONNX file."""

from .checkpoint import CheckpointError
from .config import RECIPES, TrainConfig, recipe
from .loop import TrainingError, load_network, train
from .losses import LOSSES
from .onnx_export import export_onnx, onnx_bytes

__all__ = [
    "LOSSES",
    "RECIPES",
    "CheckpointError",
    "TrainConfig",
    "TrainingError",
    "export_onnx",
    "load_network",
    "onnx_bytes",
    "recipe",
    "train",
]
