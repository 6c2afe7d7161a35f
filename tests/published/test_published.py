"""The published benchmark: instances line by line, property files byte for byte, downloads checked."""

from __future__ import annotations

import gzip
import shutil
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
import toys

from nbutils.__main__ import main
from nbutils.benchmark import export_benchmark
from nbutils.core import (
    NETWORKS,
    PUBLISHED_EPS,
    Box,
    ImageError,
    ImageSet,
    NetworkError,
    Normalization,
    ParameterError,
    Property,
    PropertyError,
    PublishedInstance,
    index_in_name,
    misnamed_index,
    replay,
)
from nbutils.core.published_numbers import read_list, true_index
from nbutils.images import DATASETS, fetch_file, load_images, read_properties
from nbutils.properties import write_text
from nbutils.published import BASE_URL, download_published
from nbutils.published.files import recognise, require_published
from nbutils.published.replay import find_images, identify, published_instances, published_property

ROOT = Path(__file__).resolve().parents[2]
GOLDEN = ["CIFAR100_resnet_small", "CIFAR100_resnet_medium", "CIFAR100_resnet_super", "TinyImageNet_resnet_medium"]


@pytest.fixture
def official(shared: Path) -> Path:
    return shared / "official"


# --- lists, seeds, names -----------------------------------------------------------------------------------------


def test_seed_0_is_the_published_benchmark_line_by_line(official: Path) -> None:
    rows = [instance.row for instance in replay(official)]
    assert rows == (official / "instances_seed0.csv").read_text().splitlines()
    assert sum(instance.timeout for instance in replay(official)) == 21_600


def test_other_seeds_draw_others(official: Path) -> None:
    assert {i.row for i in replay(official, 1)} != {i.row for i in replay(official, 0)}
    assert len(replay(official, 1)) == 98
    some = replay(official, 0, ["TinyImageNet_resnet_medium", "CIFAR100_resnet_small"])
    assert [i.network for i in some] == ["CIFAR100_resnet_small"] * 10 + ["TinyImageNet_resnet_medium"] * 24


def test_the_naming_bug() -> None:
    """sidx 860: the file is called idx 2032, the image in it is test image 3558; image 860 went to place 2032."""
    instance = PublishedInstance("CIFAR100_resnet_small", 860, 240)
    assert instance.name == "CIFAR100_resnet_small_prop_idx_2032_sidx_860_eps_0.0039.vnnlib"
    assert instance.index == true_index(860) == 3558
    assert misnamed_index(860) == 2032
    assert true_index(2032) == 860
    assert sorted(map(true_index, range(10_000))) == list(range(10_000))


def test_replay_leaves_the_global_random_numbers_alone(official: Path) -> None:
    np.random.seed(5)
    expected = np.random.rand()
    np.random.seed(5)
    replay(official, 3)
    assert np.random.rand() == expected


def test_index_in_name() -> None:
    assert index_in_name("CIFAR100_resnet_small_prop_idx_2032_sidx_860_eps_0.0039.vnnlib.gz") == 3558
    assert index_in_name("toy_prop_idx_17_eps_0.0118.vnnlib") == 17
    assert index_in_name("toy_prop_idx_17_sidx_860_eps_0.0039.vnnlib") is None  # of another generator
    assert index_in_name("toy_prop_idx_17_sidx_10860_eps_0.0039.vnnlib") is None
    assert index_in_name("cifar10_spec.vnnlib") is None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "an empty file"),
        ("1\n2\n1\n", "line 3: found '1'; allowed: distinct numbers from 0 to 9999"),
        ("1\n10000\n", "line 2: found '10000'"),
        ("1\nx\n", "line 2: found 'x'"),
        (None, "no such file.*download-published"),
    ],
)
def test_lists_are_checked_by_line(tmp_path: Path, text: str | None, message: str) -> None:
    if text is not None:
        (tmp_path / "CIFAR100_resnet_small_list.txt").write_text(text)
    with pytest.raises(PropertyError, match=rf"CIFAR100_resnet_small_list.txt.*{message}"):
        replay(tmp_path, 0, ["CIFAR100_resnet_small"])


def test_wrong_parameters(tmp_path: Path) -> None:
    with pytest.raises(ParameterError, match="seed: found -1; allowed: a whole number from 0 to 4294967295"):
        replay(tmp_path, -1)
    with pytest.raises(ParameterError, match="network: found 'tiny'; allowed: one of the published: CIFAR100"):
        replay(tmp_path, 0, ["tiny"])
    with pytest.raises(ParameterError, match="sidx: found 10000; allowed: 0 to 9999"):
        true_index(10_000)


# --- property files, to the byte ---------------------------------------------------------------------------------


def golden(official: Path, network: str) -> tuple[PublishedInstance, bytes]:
    (path,) = official.glob(f"{network}_prop_*.vnnlib.gz")
    (instance,) = (i for i in replay(official) if f"{i.name}.gz" == path.name)
    return instance, gzip.decompress(path.read_bytes())


@pytest.mark.parametrize("network", GOLDEN)
def test_published_files_are_written_again_byte_for_byte(official: Path, network: str) -> None:
    """Image out of the published file, property made anew from it under the published name."""
    instance, content = golden(official, network)
    images = load_images("properties", path=official, dataset=NETWORKS[network].dataset)
    row = find_images([instance], images)[instance]
    prop = published_property(instance, images, row)
    assert write_text(prop).encode() == content
    assert prop.name == instance.name
    assert prop.meta["index"] == instance.index == images.indices[row]


def test_images_of_one_data_set_in_a_mixed_folder(official: Path) -> None:
    cifar = load_images("properties", path=official, dataset="cifar100")
    tiny = load_images("properties", path=official, dataset="tinyimagenet")
    assert cifar.levels.shape == (3, 3, 32, 32)
    assert tiny.levels.shape == (1, 3, 56, 56)
    assert tiny.indices.tolist() == [true_index(1954)]
    assert cifar.source == "properties/official"


def test_published_images_are_found_in_the_data_set_by_hash(official: Path) -> None:
    archive = ROOT / "data" / "cifar100_test.npz"
    if not archive.is_file():
        pytest.skip("no data/cifar100_test.npz")
    images = load_images("properties", path=official, dataset="cifar100")
    test_set = load_images("npz", path=archive, dataset="cifar100")
    rows = identify(images, test_set)
    assert (rows >= 0).all()
    assert np.array_equal(test_set.levels[rows], images.levels)
    instance, content = golden(official, "CIFAR100_resnet_small")
    row = rows[find_images([instance], images)[instance]]
    assert write_text(published_property(instance, test_set, row)).encode() == content
    nowhere = ImageSet(
        images.levels, (images.labels + 1) % 100, images.indices, "x", images.class_names, images.normalization
    )
    assert identify(nowhere, test_set).tolist() == [-1, -1, -1]


# --- the image source `properties` -------------------------------------------------------------------------------

UNIT = Normalization((0.5,), (0.5,))
LEVELS = np.arange(16, dtype=np.uint8).reshape(4, 1, 2, 2)


def write_property(
    folder: Path, name: str, levels: np.ndarray, label: int, *, eps: float = 1 / 255, version: str = "1.0"
) -> None:
    box = Box.around(levels[None].astype(np.float32) / np.float32(255), UNIT, eps)
    prop = Property(box.lower.ravel(), box.upper.ravel(), label, 3, (1, 2, 2), name)
    text = write_text(prop, version).encode()
    (folder / name).write_bytes(gzip.compress(text) if name.endswith(".gz") else text)


def test_properties_of_any_folder(tmp_path: Path) -> None:
    """Sorted by name; an image that stands in two files counts once, with another label it is another."""
    write_property(tmp_path, "a_prop_idx_40_eps_0.0039.vnnlib", LEVELS[0], 2)
    write_property(tmp_path, "b.vnnlib.gz", LEVELS[1], 0, version="2.0")
    write_property(tmp_path, "c.vnnlib", LEVELS[0], 2, eps=3 / 255)
    write_property(tmp_path, "d.vnnlib", LEVELS[0], 1)
    images, found = read_properties(tmp_path, normalization=UNIT, class_names="xyz")
    assert np.array_equal(images.levels, LEVELS[[0, 1, 0]])
    assert images.labels.tolist() == [2, 0, 1]
    assert images.indices.tolist() == [40, 1, 3]
    assert [(prop.name, row, eps) for prop, row, eps in found] == [
        ("a_prop_idx_40_eps_0.0039.vnnlib", 0, 1 / 255),
        ("b.vnnlib", 1, 1 / 255),
        ("c.vnnlib", 0, 3 / 255),
        ("d.vnnlib", 2, 1 / 255),
    ]
    (alone,) = load_images("properties", path=tmp_path / "d.vnnlib", normalization=UNIT, class_names="xyz").labels
    assert alone == 1


def test_properties_refused(tmp_path: Path) -> None:
    def load(**given: object) -> ImageSet:
        return load_images("properties", path=tmp_path, **({"normalization": UNIT, "class_names": "xyz"} | given))

    with pytest.raises(ImageError, match=r"found 'no property file'; allowed: \*.vnnlib or \*.vnnlib.gz"):
        load()
    write_property(tmp_path, "a.vnnlib", LEVELS[0], 0)
    with pytest.raises(ParameterError, match="dataset: found None; allowed: cifar100, tinyimagenet. Pass dataset="):
        load(normalization=None)
    with pytest.raises(ParameterError, match="dataset: found 'mnist'; allowed: cifar100, tinyimagenet"):
        load(dataset="mnist")
    with pytest.raises(ImageError, match="found '1 files about other images'; allowed: properties of 2 classes"):
        load(class_names="xy")
    with pytest.raises(ImageError, match="a.vnnlib: found bounds that no image of levels 0-255 gives"):
        load(normalization=Normalization((0.4,), (0.3,)))
    (tmp_path / "b.vnnlib").write_text("words")
    with pytest.raises(ImageError, match="b.vnnlib"):
        load()
    with pytest.raises(ParameterError, match="path: found None"):
        load_images("properties", dataset="cifar100")


# --- images and networks of instances ----------------------------------------------------------------------------


def test_sources_in_another_order_are_refused(official: Path) -> None:
    names = DATASETS["cifar100"].class_names
    levels = np.zeros((1, 3, 32, 32), dtype=np.uint8)
    images = ImageSet(levels, np.array([0]), np.array([0]), "npz/x.npz", names, DATASETS["cifar100"].normalization)
    with pytest.raises(ImageError, match=r"images: found 'npz/x.npz'; allowed: cifar100/test, embedded, .* by hash"):
        find_images(replay(official), images)


def test_the_embedded_twenty_have_official_indices() -> None:
    images = load_images("embedded")
    sidx = next(s for s in range(10_000) if true_index(s) == 7)
    instance = PublishedInstance("CIFAR100_resnet_small", sidx, 240)
    assert find_images([instance], images) == {instance: 7}
    tiny = PublishedInstance("TinyImageNet_resnet_medium", sidx, 200)
    assert find_images([tiny], images) == {}


def test_an_export_as_published(official: Path, tmp_path: Path) -> None:
    """The one small instance whose file is known here, with the network of that name: row and file as published."""
    instance, content = golden(official, "CIFAR100_resnet_small")
    images = load_images("properties", path=official, dataset="cifar100")
    ready = published_instances([instance], [images], ROOT / "onnx")
    out = tmp_path / "out"
    export_benchmark(ready, out, manifest={"seed": 0}, versions=["1.0"], layout="published")
    assert (out / "instances.csv").read_text() == instance.row + "\n"
    assert (out / "vnnlib" / instance.name).read_bytes() == content
    other = next(i for i in replay(official) if i.network == instance.network and i != instance)
    with pytest.raises(ImageError, match="properties/official: found '1 of 2 images missing, first that of CIFAR100"):
        published_instances([instance, other], [images], ROOT / "onnx")
    with pytest.raises(NetworkError, match=r"CIFAR100_resnet_small.onnx'?; allowed: a file that exists"):
        published_instances([instance], [images], tmp_path)


def test_published_names_are_recognised(tmp_path: Path) -> None:
    assert recognise(ROOT / "onnx" / "CIFAR100_resnet_small.onnx") == NETWORKS["CIFAR100_resnet_small"]
    toy = toys.tiny_resnet(tmp_path)
    assert recognise(toy) is None
    wrong = shutil.copy(toy, tmp_path / "CIFAR100_resnet_super.onnx")
    with pytest.raises(NetworkError, match=r"super.onnx: architecture: found .* under the published name"):
        recognise(wrong)


def test_the_table_of_architectures() -> None:
    """Against the plain torch networks: every convolution has a batch norm, four floats a channel."""
    from torch import nn

    from nbutils.networks import ARCHITECTURES, ResNet

    for name, network in NETWORKS.items():
        modules = list(ResNet(ARCHITECTURES[name]).modules())
        assert sum(isinstance(module, nn.Conv2d) for module in modules) == network.convolutions
        weights = sum(parameter.numel() for module in modules for parameter in module.parameters(recurse=False))
        statistics = sum(2 * module.num_features for module in modules if isinstance(module, nn.BatchNorm2d))
        assert weights + statistics == network.parameters
        assert ARCHITECTURES[name].input_shape[1] == DATASETS[network.dataset].side


# --- downloads, from a server on this machine --------------------------------------------------------------------


class Quiet(SimpleHTTPRequestHandler):
    asked: list[str] = []  # noqa: RUF012

    def log_message(self, *_: object) -> None:
        self.asked.append(self.path)


@pytest.fixture
def server(official: Path, tmp_path: Path) -> Iterator[tuple[Path, str]]:
    """(folder that is served, its address): the lists, and our small network for the published one."""
    folder = tmp_path / "served"
    for name in ("selected_list", "onnx"):
        (folder / name).mkdir(parents=True)
    for path in official.glob("*_list.txt"):
        shutil.copy(path, folder / "selected_list")
    shutil.copy(ROOT / "onnx" / "CIFAR100_resnet_small.onnx", folder / "onnx")
    Quiet.asked.clear()
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=folder)) as http:
        threading.Thread(target=http.serve_forever, args=(0.01,), daemon=True).start()
        yield folder, f"http://127.0.0.1:{http.server_port}"
        http.shutdown()


def test_lists_arrive_and_replay(server, tmp_path: Path, official: Path, capsys) -> None:
    out = tmp_path / "out"
    assert main(["download-published", "--only", "lists", "--out", str(out), "--base-url", server[1] + "/"]) == 0
    assert capsys.readouterr().out.count("as pinned") == 5
    assert replay(out / "selected_list") == replay(official)
    Quiet.asked.clear()
    assert len(list(download_published(out, base_url=server[1], networks=False))) == 5
    assert Quiet.asked == []  # what is there is checked, not fetched


def test_networks_are_checked_by_architecture(server, tmp_path: Path) -> None:
    arriving = download_published(tmp_path / "out", base_url=server[1], lists=False)
    path, known = next(arriving)
    assert path == tmp_path / "out" / "onnx" / "CIFAR100_resnet_small.onnx"
    assert path.read_bytes() == (ROOT / "onnx" / path.name).read_bytes()
    assert "none was published; architecture and parameter count as published" in known
    shutil.copy(path, server[0] / "onnx" / "CIFAR100_resnet_medium.onnx")
    with pytest.raises(NetworkError, match=r"medium.onnx: architecture: found {'parameters': 1352600, .*2536344"):
        next(arriving)
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]


def test_downloads_that_fail_leave_nothing(server, tmp_path: Path, capsys) -> None:
    folder, address = server
    out = tmp_path / "out"
    words = ["download-published", "--only", "lists", "--out", str(out), "--base-url"]
    (folder / "selected_list" / "CIFAR100_resnet_medium_list.txt").write_text("1\n")
    assert main([*words, address]) == 2
    assert "medium_list.txt: found '2 bytes with SHA-256" in capsys.readouterr().err
    assert [entry.name for entry in (out / "selected_list").iterdir()] == ["CIFAR100_resnet_small_list.txt"]
    assert main([*words, address + "/nowhere"]) == 2
    assert "cannot be downloaded (File not found)" in capsys.readouterr().err
    assert main([*words, "http://example.org"]) == 2
    assert "allowed: an https:// address" in capsys.readouterr().err
    (out / "selected_list" / "CIFAR100_resnet_small_list.txt").write_text("1\n")
    assert main([*words, address]) == 2
    assert "small_list.txt: SHA-256: found" in capsys.readouterr().err


class Cut(Quiet):
    """Announces more bytes than it sends."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "1000")
        self.end_headers()
        self.wfile.write(b"half a file")


def test_a_transfer_that_was_cut_short(tmp_path: Path) -> None:
    with ThreadingHTTPServer(("127.0.0.1", 0), Cut) as http:
        threading.Thread(target=http.serve_forever, args=(0.01,), daemon=True).start()
        with pytest.raises(ImageError, match="found '11 bytes'; allowed: 1000 bytes, as announced. It was cut short"):
            fetch_file(f"http://127.0.0.1:{http.server_port}/x", tmp_path / "new" / "x", sha256=None)
        http.shutdown()
    assert not (tmp_path / "new").exists()


def test_the_address_names_one_commit() -> None:
    assert BASE_URL.startswith("https://raw.githubusercontent.com/Lucas110550/CIFAR100_TinyImageNet_ResNet/")
    assert len(BASE_URL.rsplit("/", 1)[1]) == 40


def test_damaged_networks_are_refused(tmp_path: Path) -> None:
    with pytest.raises(NetworkError, match="no ONNX model, or only part of one"):
        require_published(NETWORKS["CIFAR100_resnet_small"], tmp_path / "x.onnx", b"<html>not found</html>")


def test_lists_read_in_their_order(tmp_path: Path) -> None:
    (tmp_path / "x.txt").write_text("5\n3\n")
    assert read_list(tmp_path / "x.txt") == (5, 3)
    assert PUBLISHED_EPS == 1 / 255
