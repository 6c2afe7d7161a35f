"""What is inside a property: exact levels, nearest levels, or an honest picture; and the notebook end to end."""

from __future__ import annotations

import gzip
import re

import nbformat
import numpy as np
import pytest
import toys
from test_funnel import NORMALIZATION

from nbutils.analysis.property_file import KNOWN, find_network, hand_in, image_inside, normalization_from, open_property
from nbutils.core import Box, ExportError, Normalization, NotebookError, ParameterError, Property, PropertyError
from nbutils.networks import open_network
from nbutils.notebook import find_notebook, run_notebook
from nbutils.properties import VERSIONS, read_counterexample, read_property, replay, write_text

SMALL = {"STEPS": 4, "RESTARTS": 2, "METHODS": ["ibp", "crown-ibp"]}
FIGURES = 7  # and one more where a counterexample was handed in


def levels_of(seed=3):
    """One image 3 x 8 x 8 that has both black and white values, where boxes are cut."""
    levels = np.random.default_rng(seed).integers(0, 256, (3, 8, 8), dtype=np.uint8)
    levels[:, 0, :2] = [0, 255]
    return levels


def property_around(levels, norm, eps, *, label=2, name="toy.vnnlib"):
    box = Box.around(levels[None].astype(np.float32) / np.float32(255), norm, eps)
    return Property(box.lower.ravel(), box.upper.ravel(), label, 5, levels.shape, name)


@pytest.mark.parametrize("name", [name for name, norm in KNOWN.items() if len(norm.mean) == 3])
def test_known_normalisations_give_the_exact_image(tiny_resnet, name):
    levels = levels_of()
    inside = image_inside(property_around(levels, KNOWN[name], 2 / 255), tiny_resnet)
    assert inside.exact
    assert (inside.images.levels[0] == levels).all()
    assert inside.eps == 2 / 255
    assert f"The levels are exact: with {name}" in inside.how
    assert "radius 2/255" in inside.how
    pixels = levels[None].astype(np.float32) / np.float32(255)
    assert (inside.box.center == KNOWN[name].to_network(pixels)).all(), "the centre is the image, not the middle"
    assert inside.unit == ""


def test_a_given_normalisation_goes_first_and_alone(tiny_resnet):
    prop = property_around(levels_of(), NORMALIZATION, 3 / 255)
    inside = image_inside(prop, tiny_resnet, NORMALIZATION)
    assert inside.exact
    assert "with the given normalisation" in inside.how
    wrong = image_inside(prop, tiny_resnet, Normalization((0.4,) * 3, (0.3,) * 3))
    assert not wrong.exact
    assert "**Not an image of whole levels** under the given normalisation" in wrong.how
    assert wrong.eps == pytest.approx(3 / 255 * 0.3 / 0.25, rel=1e-4), "in the pixels of the given normalisation"


PATCH = np.zeros((3, 8, 8), bool)
PATCH[:, 2:5, 1:4] = True
PIXEL, CHANNEL = np.zeros((3, 8, 8), bool), np.zeros((3, 8, 8), bool)
PIXEL[:, 3, 3] = CHANNEL[1] = True


@pytest.mark.parametrize("moving", [PATCH, PIXEL, CHANNEL], ids=["patch", "pixel", "channel"])
def test_elements_that_are_fixed_keep_their_level(tiny_resnet, moving):
    """Only some inputs move: was "The levels are right" with all the others wrong by the radius."""
    norm, levels, eps = KNOWN["CIFAR-10"], levels_of(), 3 / 255
    mean, std = (np.array(x).reshape(3, 1, 1) for x in (norm.mean, norm.std))
    ends = [np.where(moving, np.clip(levels / 255 + s * eps, 0, 1), levels / 255) for s in (-1, 1)]
    lower, upper = (((end - mean) / std).astype(np.float32) for end in ends)
    prop = Property(lower.ravel(), upper.ravel(), 2, 5, levels.shape, "patch.vnnlib")
    inside = image_inside(prop, tiny_resnet)
    assert (inside.images.levels[0] == levels).all()
    assert f"Only {moving.mean():.1%} of the values may change" in inside.how


def test_elements_of_several_radii_are_no_image_of_levels(tiny_resnet):
    norm, levels = KNOWN["CIFAR-10"], levels_of()
    eps = np.full(levels.shape, 3 / 255)
    eps[0, 0, :4] = 2 / 255
    mean, std = (np.array(x).reshape(3, 1, 1) for x in (norm.mean, norm.std))
    ends = [np.clip(levels / 255 + s * eps, 0, 1) for s in (-1, 1)]
    lower, upper = (((end - mean) / std).astype(np.float32) for end in ends)
    inside = image_inside(Property(lower.ravel(), upper.ravel(), 2, 5, levels.shape, "two.vnnlib"), tiny_resnet)
    assert "levels are right" not in inside.how


def test_bounds_rounded_otherwise_give_the_right_levels(tiny_resnet):
    """A generator that computes in float64 and rounds last: no box of ours, and still that image."""
    norm, levels, eps = KNOWN["CIFAR-10"], levels_of(), 1.3 / 255
    mean, std = (np.array(x).reshape(3, 1, 1) for x in (norm.mean, norm.std))
    lower, upper = (((np.clip(levels / 255 + s * eps, 0, 1) - mean) / std).astype(np.float32) for s in (-1, 1))
    prop = Property(lower.ravel(), upper.ravel(), 2, 5, levels.shape, "double.vnnlib")
    inside = image_inside(prop, tiny_resnet)
    assert not inside.exact, "precondition: rounded otherwise"
    assert (inside.images.levels[0] == levels).all()
    assert inside.eps == pytest.approx(eps, abs=1e-6)
    assert inside.how.startswith("The levels are right: with CIFAR-10")
    assert inside.box.contains(inside.box.center)[0]
    assert (inside.box.lower.ravel() == prop.lower).all(), "the file's own bounds are what is analysed"


def test_an_unknown_normalisation_is_said_and_the_range_stretched(tiny_resnet):
    prop = property_around(levels_of(), Normalization((0.3,) * 3, (0.11,) * 3), 2 / 255)
    inside = image_inside(prop, tiny_resnet)
    assert inside.eps is None
    assert "**No known normalisation fits**" in inside.how
    assert "Give `MEAN` and `STD`" in inside.how
    assert inside.images.levels.min() == 0
    assert inside.images.levels.max() == 255
    assert "1/255 of the picture's range" in inside.unit
    middle = prop.box.center
    assert (inside.box.center == middle).all()
    shown = inside.images.normalization.to_pixels(middle)[0] * 255
    assert np.abs(shown - inside.images.levels[0]).max() <= 0.51, "points and picture share one scale"


def test_a_flat_box_is_shown_too(tiny_resnet):
    flat = np.full(3 * 64, 7.5, np.float32)
    inside = image_inside(Property(flat, flat, 0, 5, (3, 8, 8), "flat.vnnlib"), tiny_resnet)
    assert inside.eps is None
    assert len(np.unique(inside.images.levels)) == 1


def test_channels_that_do_not_fit_are_refused(tiny_resnet):
    prop = property_around(levels_of(), NORMALIZATION, 2 / 255)
    with pytest.raises(PropertyError, match="MEAN, STD: found .* allowed: 3 numbers each"):
        image_inside(prop, tiny_resnet, Normalization((0.5,), (0.5,)))
    with pytest.raises(ParameterError, match="MEAN, STD: found .* allowed: both, or neither"):
        normalization_from([0.5], None)
    assert normalization_from(None, None) is None
    assert normalization_from([0, 0.5], [1, 2]) == Normalization((0.0, 0.5), (1.0, 2.0))


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("packed", [False, True])
def test_files_of_either_version_plain_or_packed_are_opened(tiny_resnet, tmp_path, version, packed):
    prop = property_around(levels_of(), NORMALIZATION, 2 / 255)
    text = write_text(prop, version).encode()
    path = tmp_path / ("toy.vnnlib.gz" if packed else "toy.vnnlib")
    path.write_bytes(gzip.compress(text) if packed else text)
    found = open_property(tiny_resnet, str(path), look_at=0, eps=0.1)
    assert found.name == "toy.vnnlib"
    assert (found.lower == prop.lower).all()
    assert found.label == 2


def test_a_property_of_another_network_is_refused(tiny_resnet, mlp, small_network, tmp_path):
    path = tmp_path / "toy.vnnlib"
    path.write_text(write_text(property_around(levels_of(), NORMALIZATION, 2 / 255)))
    with pytest.raises(PropertyError, match="toy.vnnlib: inputs: found 192; allowed: 16, as shape"):
        open_property(mlp, str(path), look_at=0, eps=0.1)
    path.write_text(write_text(property_around(levels_of(), NORMALIZATION, 2 / 255), "2.0").replace("[1,5]", "[1,4]"))
    with pytest.raises(PropertyError):
        open_property(tiny_resnet, str(path), look_at=0, eps=0.1)
    with pytest.raises(ParameterError, match="LOOK_AT: found 20; allowed: an embedded image, 0 to 19"):
        open_property(small_network, None, look_at=20, eps=0.1)
    with pytest.raises(PropertyError, match="belongs to another network"):
        open_property(tiny_resnet, None, look_at=3, eps=0.1)


def test_without_a_file_one_is_made_around_an_embedded_image(small_network):
    prop = open_property(small_network, None, look_at=3, eps=1 / 255)
    inside = image_inside(prop, small_network)
    assert prop.name == "CIFAR100_resnet_small_prop_idx_3_eps_0.0039.vnnlib"
    assert inside.exact
    assert inside.images.indices.tolist() == [3]
    assert inside.images.name_of(prop.label) == "mushroom"
    assert "with the network's card" in inside.how


@pytest.mark.parametrize("version", VERSIONS)
def test_a_counterexample_goes_through_text_and_replay(tiny_resnet, tmp_path, version):
    levels = levels_of()
    center = NORMALIZATION.to_network(levels[None].astype(np.float32) / np.float32(255))
    answer = int(tiny_resnet.judge(center)[0].argmax())
    prop = property_around(levels, NORMALIZATION, 2 / 255, label=(answer + 1) % 5)
    where, found = hand_in(tiny_resnet, prop, center[0], version)
    assert (where, found.verdict, found.rival) == (None, "correct", answer)
    where, found = hand_in(tiny_resnet, prop, center[0], version, tmp_path / "new")
    assert where == tmp_path / "new" / "toy.counterexample.txt"
    assert found.verdict == "correct"
    assert (read_counterexample(where, prop) == center[0]).all()
    robust = property_around(levels, NORMALIZATION, 2 / 255, label=answer)
    assert hand_in(tiny_resnet, robust, center[0], version)[1].verdict == "wrong"


def test_a_folder_that_cannot_be_written_is_one_clear_error(tiny_resnet, tmp_path):
    (tmp_path / "file").write_text("")
    prop = property_around(levels_of(), NORMALIZATION, 2 / 255)
    with pytest.raises(ExportError, match=r"toy.counterexample.txt: cannot be written .* Choose another OUT_DIR"):
        hand_in(tiny_resnet, prop, prop.box.center[0], "1.0", tmp_path / "file")


def test_networks_are_found_by_name_or_by_path(tmp_path):
    path = toys.tiny_resnet(tmp_path)
    assert find_network(str(path)).path == path
    assert find_network("CIFAR100_resnet_small").name == "CIFAR100_resnet_small"
    assert find_network("onnx/CIFAR100_resnet_small.onnx").name == "CIFAR100_resnet_small"


def execute(folder, **parameters):
    path = run_notebook(find_notebook("inspect_property"), SMALL | parameters, folder / "out.ipynb")
    cells = nbformat.read(path, as_version=4).cells
    texts, pictures = [], 0
    for cell in cells:
        for output in cell.get("outputs", []):
            data = output.get("data", {})
            pictures += "image/png" in data
            texts.append(data.get("text/markdown", "") + output.get("text", ""))
    return pictures, "\n".join(texts)


def test_the_notebook_takes_a_foreign_pair_and_a_counterexample(tiny_resnet, tmp_path):
    """A property whose label the network does not answer: `sat` at the centre. 2.0, gzipped, by absolute paths."""
    levels = levels_of()
    center = NORMALIZATION.to_network(levels[None].astype(np.float32) / np.float32(255))
    label = (int(tiny_resnet.judge(center)[0].argmax()) + 1) % 5
    prop = property_around(levels, NORMALIZATION, 2 / 255, label=label)
    path = tmp_path / "toy.vnnlib.gz"
    path.write_bytes(gzip.compress(write_text(prop, "2.0").encode()))
    where, _ = hand_in(tiny_resnet, prop, center[0], "1.0", tmp_path)
    pictures, text = execute(
        tmp_path,
        NETWORK=str(tiny_resnet.path),
        PROPERTY=str(path),
        COUNTEREXAMPLE=str(where),
        MEAN=list(NORMALIZATION.mean),
        STD=list(NORMALIZATION.std),
        VERSION="2.0",
        OUT_DIR=str(tmp_path / "out"),
    )
    assert pictures == FIGURES + 1
    assert "The levels are exact: with the given normalisation" in text
    assert "**the answer to this property is `sat`**" in text
    assert len(re.findall(r"\*\*correct\*\*, it answers the property", text)) == 2, "the one handed in, and our own"
    written = tmp_path / "out" / "toy.counterexample.txt"
    assert written.read_text().startswith("X float32 [1,3,8,8]")
    assert replay(tiny_resnet, prop, read_counterexample(written, prop)).verdict == "correct"


def test_the_notebook_runs_on_a_fresh_clone_and_checks_its_settings(tmp_path):
    pictures, text = execute(tmp_path, STEPS=10)
    assert pictures == FIGURES
    assert "Image 2 (**seal**)" in text
    assert "**the answer to this property is `sat`**" in text
    assert "The attack's point: **correct**" in text
    assert "COUNTEREXAMPLE names no file" in text
    with pytest.raises(NotebookError, match="VERSION: found '3.0'; allowed: 1.0 or 2.0"):
        execute(tmp_path, VERSION="3.0")


@pytest.mark.parametrize(
    ("folder", "how", "eps"),
    [
        ("oval21", "The levels are exact: with ImageNet's mean over 0.225", [5.4]),
        ("sri_resnet_a", "The levels are right: with CIFAR-10", [0.505, 0.8925]),
    ],
)
def test_foreign_benchmarks_are_understood(shared, folder, how, eps):
    (path,) = (shared / "third_party" / folder).glob("*.onnx")
    network = open_network(path, device="cpu")
    files = sorted((shared / "third_party" / folder).glob("*.vnnlib.gz"))
    assert len(files) == len(eps)
    for file, radius in zip(files, eps, strict=True):
        prop = open_property(network, str(file), look_at=0, eps=0.1)
        inside = image_inside(prop, network)
        assert inside.how.startswith(how)
        assert inside.eps * 255 == pytest.approx(radius, abs=1e-3)
        assert network.judge(inside.box.center).argmax() == prop.label, "the image inside is the one meant"


def test_a_foreign_pair_passes_through_the_notebook(shared, tmp_path):
    folder = shared / "third_party" / "sri_resnet_a"
    (network,) = folder.glob("*.onnx")
    file = sorted(folder.glob("*.vnnlib.gz"))[0]
    pictures, text = execute(tmp_path, NETWORK=str(network), PROPERTY=str(file), METHODS=["crown-ibp"])
    assert pictures == FIGURES
    assert "The levels are right: with CIFAR-10" in text


def test_official_properties_are_understood(shared, small_network, tmp_path):
    """Three fit our small network by shape; the TinyImageNet one gets a linear network of its own shape."""
    weights = {"1.w": np.zeros((200, 3 * 56 * 56), np.float32), "1.b": np.arange(200, dtype=np.float32)}
    nodes = [toys.helper.make_node("Flatten", ["x"], ["flat"]), toys.gemm("flat", "y", "1")]
    path = toys.save_onnx(tmp_path / "tiny.onnx", nodes, weights, input_shape=(3, 56, 56), output_shape=(200,))
    tiny = open_network(path, device="cpu")
    files = sorted((shared / "official").glob("*.vnnlib.gz"))
    assert len(files) == 4
    for file in files:
        network = tiny if file.name.startswith("Tiny") else small_network
        prop = open_property(network, str(file), look_at=0, eps=0.1)
        inside = image_inside(prop, network)
        assert inside.exact
        assert inside.eps == 1 / 255
        sidx = int(re.search(r"sidx_(\d+)", file.name)[1])
        assert inside.images.indices[0] == np.random.RandomState(111).permutation(10_000)[sidx], "the true index"
        assert (read_property(file).lower == prop.lower).all()
