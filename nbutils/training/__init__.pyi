from .box_fit import fit_box as fit_box, nearest_rows as nearest_rows
from .checkpoint import CheckpointError as CheckpointError
from .config import RECIPES as RECIPES, TrainConfig as TrainConfig, recipe as recipe
from .costs import measure_losses as measure_losses
from .crown import CrownBounds as CrownBounds
from .data import split as split
from .inspection import (
    Fed as Fed, Snapshot as Snapshot, first_batch as first_batch, look_at as look_at, snapshot as snapshot,
)
from .log import Step as Step, TrainingLog as TrainingLog, read_log as read_log, training_log as training_log
from .loop import LAST as LAST, TrainingError as TrainingError, train as train
from .losses import LOSSES as LOSSES
from .onnx_export import export_onnx as export_onnx, onnx_bytes as onnx_bytes
from .onnx_import import import_onnx as import_onnx
from .plan import card_dataset as card_dataset, configure as configure, plan_run as plan_run
from .probe import (
    BoxLosses as BoxLosses, Fusion as Fusion, compare_fusion as compare_fusion, losses_by_box as losses_by_box,
)
from .provenance import account as account
from .sources import SOURCES as SOURCES, training_images as training_images
from .weights import first_weights as first_weights, load_network as load_network, pick_device as pick_device
