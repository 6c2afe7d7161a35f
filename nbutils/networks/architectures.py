"""The five residual networks of the VNN-COMP 2022 CIFAR-100 / TinyImageNet benchmark, as plain `torch.nn`.

Stem conv-BN-ReLU, then blocks conv-BN-ReLU-conv-BN plus a shortcut (conv1x1-BN where stride or width changes, else
identity), no ReLU after the Add, then Flatten-Linear-ReLU-Linear. Convolutions have no bias. Input is normalised
[N, C, H, W], output logits [N, K].

Source: the ONNX files of the benchmark `CIFAR100_TinyImageNet_ResNet`, VNN-COMP 2022.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor, nn

from ..core import require

ModuleT = TypeVar("ModuleT", bound=nn.Module)


@dataclass(frozen=True)
class Stage:
    """A run of residual blocks of one width; the first block has `stride`, the others 1."""

    width: int
    blocks: int
    stride: int


@dataclass(frozen=True)
class Architecture:
    """Everything that fixes the shape of one network."""

    name: str
    size: int  # input height and width
    stem: tuple[int, int, int]  # width, stride, padding of the 3x3 stem convolution
    stages: tuple[Stage, ...]
    hidden: int  # width of the linear layer before the logits
    classes: int
    channels: int = 3

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """(C, H, W) of the input."""
        return (self.channels, self.size, self.size)

    @property
    def layers(self) -> int:
        """Depth as the published table counts it: convolutions on the main path and linear layers."""
        return 1 + 2 * sum(stage.blocks for stage in self.stages) + 2

    @property
    def narrowest_shortcut(self) -> float:
        """Fewest channels that a strided convolution of a shortcut reads; infinity where no shortcut is strided."""
        widths = (self.stem[0], *(stage.width for stage in self.stages))
        read = (width for width, stage in zip(widths, self.stages, strict=False) if stage.stride > 1)
        return min(read, default=float("inf"))

    @property
    def features(self) -> int:
        """Length of the flattened input of the first linear layer."""
        return self.stages[-1].width * self.side_of_features(self.size) ** 2

    def side_of_features(self, size: int) -> int:
        """Height and width of what the blocks make of images of `size` x `size`."""
        side = (size + 2 * self.stem[2] - 3) // self.stem[1] + 1
        for stage in self.stages:
            side = (side - 1) // stage.stride + 1
        return side


ARCHITECTURES: dict[str, Architecture] = {
    architecture.name: architecture
    for architecture in (
        Architecture("CIFAR100_resnet_small", 32, (64, 2, 0), (Stage(128, 2, 2), Stage(128, 2, 2)), 100, 100),
        Architecture("CIFAR100_resnet_medium", 32, (64, 2, 0), (Stage(128, 4, 2), Stage(128, 4, 2)), 100, 100),
        Architecture(
            "CIFAR100_resnet_large",
            32,
            (64, 1, 1),
            (Stage(64, 2, 1), Stage(128, 2, 2), Stage(128, 2, 2), Stage(256, 2, 2)),
            100,
            100,
        ),
        Architecture(
            "CIFAR100_resnet_super", 32, (128, 2, 0), (Stage(128, 3, 2), Stage(256, 3, 2), Stage(256, 3, 2)), 100, 100
        ),
        Architecture("TinyImageNet_resnet_medium", 56, (64, 2, 0), (Stage(128, 4, 2), Stage(128, 4, 2)), 200, 200),
    )
}


class Block(nn.Module):
    """Residual block: relu(bn1(conv1(x))) -> bn2(conv2(.)) + shortcut(x), no ReLU after the sum."""

    def __init__(self, width_in: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(width_in, width, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.relu = nn.ReLU()
        self.conv2 = nn.Conv2d(width, width, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or width_in != width:
            self.shortcut = nn.Sequential(nn.Conv2d(width_in, width, 1, stride, bias=False), nn.BatchNorm2d(width))

    def forward(self, x: Tensor) -> Tensor:
        return self.bn2(self.conv2(self.relu(self.bn1(self.conv1(x))))) + self.shortcut(x)


class ResNet(nn.Module):
    """A network of `architecture`; `stem`, `blocks` and `head` are run in that order."""

    def __init__(self, architecture: Architecture) -> None:
        super().__init__()
        self.architecture = architecture
        width, stride, padding = architecture.stem
        self.stem = nn.Sequential(
            nn.Conv2d(architecture.channels, width, 3, stride, padding, bias=False), nn.BatchNorm2d(width), nn.ReLU()
        )
        blocks: list[nn.Module] = []
        for stage in architecture.stages:
            for position in range(stage.blocks):
                blocks.append(Block(width, stage.width, stage.stride if position == 0 else 1))
                width = stage.width
        self.blocks = nn.Sequential(*blocks)
        self.head = nn.Sequential(
            nn.Flatten(),
            nn.Linear(architecture.features, architecture.hidden),
            nn.ReLU(),
            nn.Linear(architecture.hidden, architecture.classes),
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.blocks(self.stem(x)))

    @property
    def residual(self) -> list[Block]:
        """The blocks, in the order of computing."""
        return [block for block in self.blocks if isinstance(block, Block)]

    @property
    def linear(self) -> tuple[nn.Linear, nn.Linear]:
        """The layer behind the blocks and the one that gives the logits."""
        hidden, last = self.head[1], self.head[3]
        assert isinstance(hidden, nn.Linear)
        assert isinstance(last, nn.Linear)
        return hidden, last


def conv_norm(part: nn.Sequential) -> tuple[nn.Conv2d, nn.BatchNorm2d]:
    """The convolution and the batch norm with which a stem or a shortcut begins."""
    conv, norm = part[0], part[1]
    assert isinstance(conv, nn.Conv2d)
    assert isinstance(norm, nn.BatchNorm2d)
    return conv, norm


def in_memory_format(module: ModuleT, layout: torch.memory_format) -> ModuleT:
    """`module` with its four-dimensional weights stored in `layout`, changed in place."""
    return module.to(memory_format=layout)  # type: ignore[call-overload]  # torch's stubs lack it


def build(name: str) -> ResNet:
    """A freshly initialised network by its published name.

    Raises:
        ParameterError: when `name` is none of `ARCHITECTURES`.
    """
    require(name in ARCHITECTURES, "network", name, ", ".join(ARCHITECTURES))
    return ResNet(ARCHITECTURES[name])


def cifar100_resnet_small() -> ResNet:
    """CIFAR100_resnet_small, 1,352,600 values."""
    return build("CIFAR100_resnet_small")


def cifar100_resnet_medium() -> ResNet:
    """CIFAR100_resnet_medium, 2,536,344 values."""
    return build("CIFAR100_resnet_medium")


def cifar100_resnet_large() -> ResNet:
    """CIFAR100_resnet_large, 3,808,152 values."""
    return build("CIFAR100_resnet_large")


def cifar100_resnet_super() -> ResNet:
    """CIFAR100_resnet_super, 7,916,888 values."""
    return build("CIFAR100_resnet_super")


def tinyimagenet_resnet_medium() -> ResNet:
    """TinyImageNet_resnet_medium, 3,616,144 values."""
    return build("TinyImageNet_resnet_medium")


def parameter_count(module: nn.Module) -> int:
    """Values an ONNX file of `module` holds: parameters and batch-norm running statistics, step counters left out."""
    return sum(value.numel() for name, value in module.state_dict().items() if not name.endswith("num_batches_tracked"))
