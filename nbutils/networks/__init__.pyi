from .architectures import (
    ARCHITECTURES as ARCHITECTURES, Block as Block, ResNet as ResNet, build as build, conv_norm as conv_norm,
    in_memory_format as in_memory_format, parameter_count as parameter_count,
)
from .assumed import (
    first_line as first_line, fit_images as fit_images, normalization_of as normalization_of, stated as stated,
)
from .card_figures import (
    ACCURACIES as ACCURACIES, CLEAN as CLEAN, CROWN as CROWN, PGD as PGD, Figure as Figure,
    figure_name as figure_name,
)
from .cards import (
    add_figures as add_figures, depth as depth, list_networks as list_networks, read_card as read_card, stem as stem,
    stored_floats as stored_floats, training_runs as training_runs, write_card as write_card,
)
from .fast_twin import Twin as Twin, folded as folded, twin_of as twin_of
from .onnx_files import parse as parse, ports as ports, read_bytes as read_bytes, stored_tensors as stored_tensors
from .opening import Network as Network, open_network as open_network
from .restricted import best_against as best_against, columns as columns
