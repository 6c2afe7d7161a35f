"""The architectures against the published counts (VNN-COMP 2022 table and ONNX files)."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from nbutils.core import ParameterError
from nbutils.networks import architectures

#                                   factory                            values     layers  convs, linears
PUBLISHED = {
    "CIFAR100_resnet_small": (architectures.cifar100_resnet_small, 1_352_600, 11, 11),
    "CIFAR100_resnet_medium": (architectures.cifar100_resnet_medium, 2_536_344, 19, 19),
    "CIFAR100_resnet_large": (architectures.cifar100_resnet_large, 3_808_152, 19, 20),
    "CIFAR100_resnet_super": (architectures.cifar100_resnet_super, 7_916_888, 21, 22),
    "TinyImageNet_resnet_medium": (architectures.tinyimagenet_resnet_medium, 3_616_144, 19, 19),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_counts_match_the_published_files(name):
    factory, values, layers, convolutions = PUBLISHED[name]
    network = factory()
    assert network.architecture.name == name
    assert architectures.parameter_count(network) == values
    assert network.architecture.layers == layers
    # the layer count leaves the 1x1 shortcuts out: stem + two a block + two linear layers
    assert sum(isinstance(m, nn.Conv2d) for m in network.modules()) == convolutions
    main_path = [m for m in network.modules() if isinstance(m, nn.Conv2d) and m.kernel_size == (3, 3)]
    assert len(main_path) + sum(isinstance(m, nn.Linear) for m in network.modules()) == layers
    assert all(m.bias is None for m in network.modules() if isinstance(m, nn.Conv2d))


@pytest.mark.parametrize(
    ("name", "flat", "sides"),
    [
        ("CIFAR100_resnet_small", 2048, [15, 8, 8, 4, 4]),
        ("CIFAR100_resnet_large", 4096, [32, 32, 32, 16, 16, 8, 8, 4, 4]),
        ("CIFAR100_resnet_super", 1024, [15, 8, 8, 8, 4, 4, 4, 2, 2, 2]),
        ("TinyImageNet_resnet_medium", 6272, [27, 14, 14, 14, 14, 7, 7, 7, 7]),
    ],
)
def test_spatial_sizes_and_output_shape(name, flat, sides):
    network = architectures.build(name).eval()
    x = torch.zeros(2, *network.architecture.input_shape)
    y = network.stem(x)
    seen = [y.shape[-1]]
    for block in network.blocks:
        y = block(y)
        seen.append(y.shape[-1])
    assert seen == sides
    assert network.architecture.features == flat == network.head[0](y).shape[1]
    assert network(x).shape == (2, network.architecture.classes)


def test_no_relu_after_the_sum():
    # with bn2 shifted by -1 and everything else at zero, a block gives x - 1, negative numbers included
    block = architectures.Block(2, 2, 1).eval()
    nn.init.zeros_(block.conv2.weight)
    nn.init.constant_(block.bn2.bias, -1.0)
    x = torch.full((1, 2, 3, 3), 0.5)
    torch.testing.assert_close(block(x), x - 1)


def test_unknown_name_is_refused():
    with pytest.raises(ParameterError, match=r"network: found 'resnet18'; allowed: CIFAR100_resnet_small"):
        architectures.build("resnet18")
