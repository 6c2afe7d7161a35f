"""What a run assumes: the normalisation that is stated or found, images made to fit a network, and the first line."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
import toys
from onnx import helper, numpy_helper

from nbutils.core import ImageError, ImageSet, Normalization, ParameterError, SelectionConfig
from nbutils.explore import Session
from nbutils.images import CIFAR100, load_images
from nbutils.images.datasets import CIFAR100_NAMES
from nbutils.networks import Network, first_line, fit_images, normalization_of, open_network, stated, write_card
from nbutils.selection import run_funnel
from nbutils.zoo import evaluate

UNIT = Normalization((0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
USUAL = CIFAR100.normalization
MEAN, STD = np.float32(USUAL.mean).reshape(1, 3, 1, 1), np.float32(USUAL.std).reshape(1, 3, 1, 1)


def starting(folder: Path, nodes: list, values: dict, *, channels: int = 3, classes: int = 5, side: int = 4) -> Network:
    """A network whose first operators are `nodes`, from `x` to `n`, before one linear layer."""
    rng = np.random.default_rng(0)
    size = channels * side * side
    weights = {**values, "1.w": rng.standard_normal((classes, size)).astype(np.float32), "1.b": np.zeros(classes, "f4")}
    nodes = [*nodes, helper.make_node("Flatten", ["n" if nodes else "x"], ["f"]), toys.gemm("f", "y", "1")]
    shape = (channels, side, side)
    toys.save_onnx(folder / "own.onnx", nodes, weights, input_shape=shape, output_shape=(classes,))
    return open_network(folder / "own.onnx", device="cpu")


def node(kind: str, *inputs: str, to: str, **more: object) -> onnx.NodeProto:
    return helper.make_node(kind, list(inputs), [to], **more)


def some(tmp_path: Path, levels: np.ndarray, **arrays: object) -> ImageSet:
    np.savez(tmp_path / "own.npz", images=levels, labels=np.arange(len(levels)) % 3, **arrays)
    return load_images("npz", path=tmp_path / "own.npz")


LEVELS = np.random.default_rng(0).integers(0, 256, (6, 3, 4, 4), dtype=np.uint8)
STATISTICS = {"g": np.ones(3, "f4"), "b": np.zeros(3, "f4"), "v": np.float32(USUAL.std) ** 2, "zero": np.zeros(3, "f4")}
BATCH_NORM = {**STATISTICS, "m": np.float32(USUAL.mean), "one": np.ones(3, "f4")}

# nodes and constants at the start; what is said of them and proposed. Today nothing was: images of a data set were
# normalised by its usual numbers, whatever the network does first.
STARTS = {
    "Sub, Div": ([node("Sub", "x", "m", to="c"), node("Div", "c", "s", to="n")], {"m": MEAN, "s": STD},
                 "Sub by 0.5071 0.4865 0.4409 and Div by 0.2673 0.2564 0.2761: so it seems to take pixels, --pixels"),
    "Mul, Add": ([node("Mul", "x", "s", to="c"), node("Add", "m", "c", to="n")],
                 {"m": np.float32([[[-1]]]), "s": np.float32(2)}, "Mul by 2 and Add by -1: so it seems to take pixels"),
    "Constant nodes": ([node("Constant", to="m", value=numpy_helper.from_array(MEAN)), node("Sub", "x", "m", to="n")],
                       {}, "Sub by 0.5071 0.4865 0.4409: so it seems to take pixels"),
    "levels": ([node("Div", "x", "s", to="n")], {"s": np.float32(255)},
               "Div by 255: so it seems to take levels 0 to 255, --mean 0 --std 0.00392156863"),
    "levels, ImageNet": ([node("Sub", "x", "m", to="c"), node("Mul", "c", "s", to="n")],
                         {"m": np.float32([123.7, 116.3, 103.5]).reshape(3, 1, 1), "s": np.float32(1 / 58)},
                         "levels 0 to 255"),
    "batch norm of pixels": ([node("BatchNormalization", "x", "g", "b", "m", "v", to="n")], BATCH_NORM,
                             "BatchNormalization of mean 0.507 0.486 0.441 and std 0.267 0.256 0.276: so it seems"),
    "batch norm of normalised": ([node("BatchNormalization", "x", "g", "b", "zero", "one", to="n")], BATCH_NORM,
                                 "std 1 1 1: its input was normalised before"),
    "Identity between": ([node("Identity", "x", to="i"), node("Sub", "i", "m", to="n")], {"m": MEAN}, "Sub by 0.5071"),
    # no normalisation: one that does nothing, one with a number a pixel, an input that is used twice, none at all
    "nothing": ([node("Sub", "x", "m", to="n")], {"m": np.float32(0)}, ""),
    "a number a pixel": ([node("Sub", "x", "m", to="n")], {"m": np.ones((1, 3, 4, 4), "f4")}, ""),
    "a residual": ([node("Sub", "x", "m", to="c"), node("Add", "x", "c", to="n")], {"m": MEAN}, ""),
    "turned": ([node("Sub", "m", "x", to="n")], {"m": MEAN}, ""),
    "none": ([], {}, ""),
}  # fmt: skip


@pytest.mark.parametrize("case", STARTS)
def test_a_normalisation_in_the_file_is_found_and_proposed(tmp_path: Path, case: str) -> None:
    nodes, values, said = STARTS[case]
    network = starting(tmp_path, nodes, values)
    if said:
        assert said in network.card.start.describe()
        assert said.split()[0] in network.describe().replace("\n", " ")
    else:
        assert network.card.start is None
    with pytest.raises(ParameterError, match="normalisation of own: found no card and nothing given") as caught:
        fit_images(network, some(tmp_path, LEVELS))
    assert said in str(caught.value)


def test_what_starts_a_file_is_the_normalisation_of_its_input(tmp_path: Path) -> None:
    network = starting(tmp_path, *STARTS["Sub, Div"][:2])
    np.testing.assert_allclose(network.card.start.mean, USUAL.mean, rtol=1e-6)
    np.testing.assert_allclose(network.card.start.std, USUAL.std, rtol=1e-6)


def test_the_usual_normalisation_of_a_data_set_is_only_proposed(tmp_path: Path) -> None:
    network = starting(tmp_path, [], {}, classes=100, side=32)
    images = load_images("embedded")
    usual = r"The one usual for cifar100: --mean 0.5071 0.4865 0.4409 --std 0.2673 0.2564 0.2761\."
    ways = (
        lambda: fit_images(network, images),
        lambda: Session(network, images, SelectionConfig()),
        lambda: run_funnel(network, images, SelectionConfig(), progress=False),
        lambda: evaluate(network, images, eps=0.1),
    )
    for way in ways:
        with pytest.raises(ParameterError, match=usual):
            way()
    fitted = fit_images(network, images, mean=USUAL.mean, std=USUAL.std)
    assert fitted.normalization == USUAL
    assert fitted.ids == images.ids
    assert Session(network, fitted, SelectionConfig()).normalization == USUAL


# mean, std, pixels: what is stated for three channels, or the message
STATED = {
    "nothing": ((None, None, False), None),
    "pixels": ((None, None, True), UNIT),
    "three": (((0.1, 0.2, 0.3), [1, 2, 3], False), Normalization((0.1, 0.2, 0.3), (1.0, 2.0, 3.0))),
    "one number": (([0.5], 0.25, False), Normalization((0.5,) * 3, (0.25,) * 3)),
    "mean alone": (([0.5], None, False), r"mean, std: found \(\[0.5\], None\); allowed: both or neither"),
    "both kinds": (([0.5], [0.5], True), r"pixels with mean, std: .*allowed: one of the two"),
    "two numbers": (([0.5, 0.5], [0.5], False), r"mean: found \[0.5, 0.5\]; allowed: one number, or 3, one a channel"),
    "no number": ((["a"], [0.5], False), r"mean: found \['a'\]; allowed: one number"),
    "nan": (([0.5], [float("nan")], False), r"std: found \[nan\]; allowed: one number"),
    "zero": (([0.5], [0.0], False), r"normalization std: found .*allowed: numbers above 0"),
}


@pytest.mark.parametrize("case", STATED)
def test_what_is_stated(case: str) -> None:
    words, wanted = STATED[case]
    if isinstance(wanted, str):
        with pytest.raises(ParameterError, match=wanted):
            stated(*words, 3)
    else:
        assert stated(*words, 3) == wanted


def test_two_normalisations_are_one_too_many(tmp_path: Path) -> None:
    path = starting(tmp_path, [], {}).path
    write_card(path, normalization=USUAL)
    network = open_network(path, device="cpu")
    images = some(tmp_path, LEVELS)
    assert fit_images(network, images).normalization == USUAL
    assert fit_images(network, images, mean=USUAL.mean, std=USUAL.std).normalization == USUAL
    message = r"found --mean 0 --std 1; allowed: that of the card of own, --mean 0.5071 .*Leave it out"
    with pytest.raises(ParameterError, match=message):
        fit_images(network, images, pixels=True)
    given = load_images("npz", path=tmp_path / "own.npz", normalization=UNIT)
    with pytest.raises(ParameterError, match=message):  # today the card's was taken, without a word
        normalization_of(network, given)


def test_grey_pictures_for_one_channel_and_for_three(tmp_path: Path) -> None:
    for channels in (1, 3):
        network = starting(tmp_path, [], {}, channels=channels)
        grey = LEVELS[:, :1]
        for stored in (grey, grey.repeat(3, axis=1)):
            images = fit_images(network, some(tmp_path, stored), pixels=True)
            assert images.levels.shape == (6, channels, 4, 4)
            assert (images.levels == grey).all()
    network = starting(tmp_path, [], {}, channels=1)
    with pytest.raises(ImageError, match="pictures: found 'colours'; allowed: grey ones, as own takes one channel"):
        fit_images(network, some(tmp_path, LEVELS), pixels=True)


def test_classes_that_are_numbers_are_as_many_as_the_networks(tmp_path: Path) -> None:
    network = starting(tmp_path, [], {})
    images = some(tmp_path, LEVELS)
    assert len(images.class_names) == 3
    assert fit_images(network, images, pixels=True).class_names == tuple(f"class {k}" for k in range(5))
    few = starting(tmp_path, [], {}, classes=2)
    with pytest.raises(ImageError, match="largest label: found 2; allowed: 0 to 1, the classes of own. Labels count"):
        fit_images(few, images, pixels=True)


def test_the_card_names_classes(small_network: Network, tmp_path: Path) -> None:
    """Today an archive without names was refused, and of a folder of two classes too."""
    levels = np.random.default_rng(0).integers(0, 256, (3, 3, 32, 32), dtype=np.uint8)
    images = fit_images(small_network, some(tmp_path, levels))
    assert images.class_names == CIFAR100_NAMES
    assert images.normalization == USUAL
    from PIL import Image

    for name in ("worm", "apple"):
        (tmp_path / "own" / name).mkdir(parents=True)
        Image.fromarray(levels[0].transpose(1, 2, 0)).save(tmp_path / "own" / name / "a.png")
    images = fit_images(small_network, load_images("folder", path=tmp_path / "own"))
    assert images.labels.tolist() == [0, 99]
    assert images.class_names == CIFAR100_NAMES


def test_the_first_line_says_what_was_assumed(small_network: Network, tmp_path: Path) -> None:
    images = fit_images(small_network, load_images("embedded")).sample(3, 7)
    assert first_line(small_network, images, "1/255 (the default)") == (
        "CIFAR100_resnet_small on 3 images of embedded, 3 of 20 drawn with seed 7, test images 0 to 19 of CIFAR-100 in "
        "the official order; normalisation mean 0.5071 0.4865 0.4409, std 0.2673 0.2564 0.2761, from the network's "
        "card; radius 1/255 (the default)"
    )
    network = starting(tmp_path, [], {}, channels=1)
    images = fit_images(network, some(tmp_path, LEVELS[:, :1].repeat(3, axis=1)), pixels=True)
    assert first_line(network, images, "0.1 (--eps)") == (
        "own on 6 images of npz/own.npz, in the order of the archive; classes: numbers, no names in the archive; "
        "normalisation none, pixels in [0, 1] as they are, as stated by pixels; radius 0.1 (--eps); three equal "
        "channels taken as one"
    )
