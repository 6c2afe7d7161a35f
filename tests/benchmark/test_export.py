"""Benchmark folders: layouts, manifest, equal bytes, and what is refused before or while writing."""

from __future__ import annotations

import dataclasses
import gzip
import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import toys
import vnnlib

from nbutils.benchmark import export as export_module
from nbutils.benchmark import export_benchmark
from nbutils.benchmark.manifest import decode_levels, dump, encode_levels, read_manifest
from nbutils.benchmark.text_check import check_written
from nbutils.core import Box, ExportError, ImageSet, Instance, NetworkError, ParameterError, Property, Verdict
from nbutils.properties import make_property, read_property, write_text

LEVELS = np.random.default_rng(0).integers(0, 256, (3, 1, 2, 2), dtype=np.uint8)
IMAGES = ImageSet(LEVELS, np.array([2, 0, 1]), np.array([40, 7, 19]), "embedded", ("ape", "red_bee", "cat"), toys.HALF)
EPS = 3 / 255
NAMES = [f"linear_prop_idx_{index}_eps_0.0118.vnnlib" for index in (40, 7, 19)]


def box(row: int) -> Box:
    return Box.around(IMAGES.pixels[[row]], IMAGES.normalization, EPS)


@pytest.fixture
def instances(tmp_path: Path) -> list[Instance]:
    """Three properties of the toy network `linear`, timeouts 10, 20 and 30 s."""
    network = toys.linear_net(tmp_path)
    rows = range(len(IMAGES))
    return [
        Instance(make_property(IMAGES, r, box(r), 3, "linear", EPS), network, 10 * (r + 1), LEVELS[r]) for r in rows
    ]


def tree(folder: Path) -> dict[str, str]:
    """Hash of every file below `folder` by its relative path."""
    files = (path for path in folder.rglob("*") if path.is_file())
    return {p.relative_to(folder).as_posix(): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


def export(instances: Sequence[Instance], out: Path, **changes: Any) -> export_module.ExportReport:
    return export_benchmark(instances, out, **{"manifest": {"seed": 5}, **changes})


# properties


def test_make_property() -> None:
    prop = make_property(IMAGES, 1, box(1), 3, "linear", EPS)
    assert prop.name == NAMES[1]
    assert (prop.label, prop.classes, prop.shape) == (0, 3, (1, 2, 2))
    assert np.array_equal(prop.lower, box(1).lower.ravel())
    assert np.array_equal(prop.upper, box(1).upper.ravel())
    meta = {"index": 7, "image_id": IMAGES.ids[1], "label_name": "ape", "eps": EPS, "source": "embedded"}
    assert prop.meta == meta
    assert make_property(IMAGES, 0, box(0), 3, "linear", 1 / 255).name == "linear_prop_idx_40_eps_0.0039.vnnlib"


def test_make_property_refuses_another_box() -> None:
    two = Box.around(IMAGES.pixels[:2], IMAGES.normalization, EPS)
    with pytest.raises(ParameterError, match="box: found '2 boxes'; allowed: the box of one image"):
        make_property(IMAGES, 0, two, 3, "linear", EPS)
    with pytest.raises(ParameterError, match=r"box: found \(1, 1, 1, 2\); allowed: \[1, 1, 2, 2\]"):
        make_property(IMAGES, 0, toys.two_neuron_box(), 3, "linear", EPS)
    with pytest.raises(ParameterError, match=r"label: found 2; allowed: 0 to 1"):
        make_property(IMAGES, 0, box(0), 2, "linear", EPS)


# layouts


def test_vnncomp_layout(instances: list[Instance], tmp_path: Path) -> None:
    report = export(instances, tmp_path / "out")
    rows = "".join(f"onnx/linear.onnx,vnnlib/{name},{t}\n" for name, t in zip(NAMES, (10, 20, 30), strict=True))
    expected = ["manifest.json"]
    for version in ("1.0", "2.0"):
        assert (tmp_path / "out" / version / "instances.csv").read_text() == rows
        network = (tmp_path / "out" / version / "onnx/linear.onnx").read_bytes()
        assert network == instances[0].network.read_bytes()
        expected += [f"{version}/instances.csv", f"{version}/onnx/linear.onnx"]
        for instance in instances:
            file = tmp_path / "out" / version / "vnnlib" / instance.property.name
            assert file.read_text() == write_text(instance.property, version)
            expected.append(f"{version}/vnnlib/{file.name}")
    assert sorted(tree(tmp_path / "out")) == sorted(expected) == list(report.files)
    assert (report.instances, report.seconds, report.versions) == (3, 60, ("1.0", "2.0"))
    assert report.megabytes == sum((tmp_path / "out" / name).stat().st_size for name in report.files) / 1e6
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_gzip_adds_a_suffix_to_files_and_none_to_rows(instances: list[Instance], tmp_path: Path) -> None:
    export(instances, tmp_path / "plain")
    export(instances, tmp_path / "packed", gzip=True)
    plain = tree(tmp_path / "plain")
    for name in plain:
        if name.endswith((".onnx", ".vnnlib")):
            packed = (tmp_path / "packed" / f"{name}.gz").read_bytes()
            assert hashlib.sha256(gzip.decompress(packed)).hexdigest() == plain[name]
            assert name not in tree(tmp_path / "packed")
    assert tree(tmp_path / "packed")["1.0/instances.csv"] == plain["1.0/instances.csv"]


def test_flat_layouts(instances: list[Instance], tmp_path: Path) -> None:
    export(instances, tmp_path / "flat", layout="flat", versions=("2.0",))
    assert (tmp_path / "flat/instances.csv").read_text().startswith("onnx/linear.onnx,vnnlib/linear_prop_idx_40_")
    vnnlib.parse_query_file(str(tmp_path / "flat/vnnlib" / NAMES[0]))
    export(instances, tmp_path / "published", layout="published", versions=("1.0",))
    assert (tmp_path / "published/instances.csv").read_text().startswith(f"linear.onnx,{NAMES[0]},10\n")
    assert (tmp_path / "published/onnx/linear.onnx").is_file()


def test_a_published_instance_gets_its_published_row_and_bytes(shared: Path, tmp_path: Path) -> None:
    (file,) = (shared / "official").glob("CIFAR100_resnet_small_prop_*.gz")
    prop = read_property(file)
    network = Path(__file__).resolve().parents[2] / "onnx/CIFAR100_resnet_small.onnx"
    out = tmp_path / "out"
    export([Instance(prop, network, 240)], out, layout="published", versions=("1.0",))
    rows = (shared / "official/instances_seed0.csv").read_text().splitlines()
    assert (out / "instances.csv").read_text().strip() in rows
    assert (out / "vnnlib" / prop.name).read_bytes() == gzip.decompress(file.read_bytes())


def test_networks_with_their_own_timeouts(instances: list[Instance], tmp_path: Path) -> None:
    other = instances[0].network.with_name("twin.onnx")
    other.write_bytes(instances[0].network.read_bytes())
    renamed = dataclasses.replace(instances[1].property, name="twin_prop_idx_7_eps_0.0118.vnnlib")
    export([instances[0], Instance(renamed, other, 12.5)], tmp_path / "out")
    rows = (tmp_path / "out/2.0/instances.csv").read_text().splitlines()
    assert rows[1] == "onnx/twin.onnx,vnnlib/twin_prop_idx_7_eps_0.0118.vnnlib,12.5"
    assert sorted(read_manifest(tmp_path / "out")["networks"]) == ["linear", "twin"]


def test_a_gzipped_network_is_unpacked(instances: list[Instance], tmp_path: Path) -> None:
    packed = tmp_path / "packed.onnx.gz"
    packed.write_bytes(gzip.compress(instances[0].network.read_bytes()))
    export([dataclasses.replace(instances[0], network=packed)], tmp_path / "out")
    assert (tmp_path / "out/1.0/onnx/packed.onnx").read_bytes() == instances[0].network.read_bytes()


# manifest


def test_manifest(instances: list[Instance], tmp_path: Path) -> None:
    verdict = Verdict(IMAGES.ids[0], 40, 2, 2, "open", "crown", 1.5, 0.75, 1, 100, -0.25, "crown", 9.9, LEVELS[0])
    instances[0] = dataclasses.replace(instances[0], verdict=verdict)
    given = {"seed": np.int64(5), "settings": {"eps": EPS, "steps": 100}, "radii": (1, None, np.float32(0.5))}
    export(instances, tmp_path / "out", manifest=given)
    manifest = read_manifest(tmp_path / "out")
    assert manifest == read_manifest(tmp_path / "out/manifest.json")
    assert manifest["seed"] == 5
    assert manifest["settings"] == {"eps": EPS, "steps": 100}
    assert manifest["radii"] == [1, None, 0.5]
    assert manifest["packages"]["numpy"] == np.__version__
    assert manifest["packages"]["python"] == ".".join(map(str, sys.version_info[:3]))
    hashes = tree(tmp_path / "out")
    assert manifest["files"] == {name: value for name, value in hashes.items() if name != "manifest.json"}
    assert manifest["networks"]["linear"]["sha256"] == hashes["1.0/onnx/linear.onnx"]
    first, second, _ = manifest["instances"]
    assert (first["index"], first["label"], first["label_name"], first["eps"]) == (40, 2, "cat", EPS)
    assert (first["property"], first["network"], first["timeout"]) == (NAMES[0], "linear", 10)
    assert first["image_id"] == IMAGES.ids[0]
    assert np.array_equal(decode_levels(first["image"]), LEVELS[0])
    assert first["verdict"]["status"] == "open"
    assert (first["verdict"]["bound"], first["verdict"]["hardness"]) == (-0.25, 1.0)
    assert not {"seconds", "point"} & set(first["verdict"])
    assert "verdict" not in second
    text = (tmp_path / "out/manifest.json").read_text()
    assert str(tmp_path) not in text
    assert json.dumps(json.loads(text), sort_keys=True, indent=1) + "\n" == text


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"folder": "/home/me"}, r"manifest.folder: found '/home/me'; allowed: text that is no absolute path"),
        ({"a": [{"b": "C:\\data"}]}, r"manifest.a\[0\].b: found .*absolute path"),
        ({"eps": float("nan")}, r"manifest.eps: found nan; allowed: text, finite numbers"),
        ({"path": Path("x")}, r"manifest.path: found PosixPath\('x'\)"),
        ({"files": []}, r"manifest: found \['files'\]; allowed: entries of other names"),
    ],
)
def test_manifest_refused(instances: list[Instance], tmp_path: Path, given: dict[str, Any], message: str) -> None:
    with pytest.raises(ParameterError, match=message):
        export(instances, tmp_path / "out", manifest=given)
    assert not (tmp_path / "out").exists()


def test_read_manifest_refuses(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match=r"manifest.json: found No such file"):
        read_manifest(tmp_path)
    (tmp_path / "manifest.json").write_text("{")
    with pytest.raises(ExportError, match="found text that is no JSON"):
        read_manifest(tmp_path)
    for text in ("[]", '{"format": "other"}', '{"format": "nbutils export, 1", "files": 3}'):
        (tmp_path / "manifest.json").write_text(text)
        with pytest.raises(ExportError, match=r"allowed: a manifest of format 'nbutils export, 1'"):
            read_manifest(tmp_path)


@pytest.mark.parametrize(
    "change", [{"base64": "?"}, {"shape": [1, 2, 3]}, {"shape": 4}, {"shape": [4]}, {"base64": None}]
)
def test_images_that_cannot_be_decoded(change: dict[str, Any]) -> None:
    entry = {"shape": [1, 2, 2], "base64": "AAECAw=="}
    assert np.array_equal(decode_levels(entry), np.arange(4).reshape(1, 2, 2))
    with pytest.raises(ExportError, match="manifest: found an image that cannot be decoded"):
        decode_levels({**entry, **change})


# equal bytes


@pytest.mark.parametrize("packed", [False, True])
def test_equal_exports_have_equal_bytes(instances: list[Instance], tmp_path: Path, packed: bool) -> None:
    for name in ("one", "two"):
        export(instances, tmp_path / name, gzip=packed)
    assert tree(tmp_path / "one") == tree(tmp_path / "two")
    export(instances, tmp_path / "one", gzip=packed)  # replaced
    assert tree(tmp_path / "one") == tree(tmp_path / "two")
    export(instances, tmp_path / "two", gzip=packed, manifest={"seed": 6})
    changed = {name for name, value in tree(tmp_path / "one").items() if tree(tmp_path / "two")[name] != value}
    assert changed == {"manifest.json"}


def test_another_process_writes_the_same_bytes(instances: list[Instance], tmp_path: Path) -> None:
    export([instances[0]], tmp_path / "here", gzip=True)
    program = (
        "import sys; sys.path.insert(0, sys.argv[1]); from pathlib import Path; import test_export as t\n"
        "i = t.Instance(t.make_property(t.IMAGES, 0, t.box(0), 3, 'linear', t.EPS), Path('linear.onnx'), 10,"
        " t.LEVELS[0])\n"
        "t.export([i], Path('there'), gzip=True)"
    )
    here = Path(__file__).parent
    environment = {
        **os.environ,
        "PYTHONHASHSEED": "77",
        "TZ": "Asia/Tokyo",
        "PYTHONPATH": os.pathsep.join(map(str, (here.parent, here.parents[1]))),
    }
    subprocess.run([sys.executable, "-c", program, str(here)], cwd=tmp_path, env=environment, check=True, timeout=120)
    assert tree(tmp_path / "there") == tree(tmp_path / "here")


# refused before anything is written


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"layout": "zip"}, r"layout: found 'zip'; allowed: vnncomp, flat, published"),
        ({"versions": ("1.0", "3.0")}, r"versions: found \('1.0', '3.0'\); allowed: one or both of 1.0, 2.0"),
        ({"versions": ("1.0", "1.0")}, r"versions: found \('1.0', '1.0'\)"),
        ({"versions": ()}, r"versions: found \(\)"),
        ({"layout": "flat"}, r"versions: found .*allowed: one version in layout flat. Layout vnncomp holds both"),
        ({"limit_seconds": 59}, r"sum of timeouts: found 60; allowed: at most 59 seconds. Choose fewer"),
    ],
)
def test_settings_refused(instances: list[Instance], tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ParameterError, match=message):
        export(instances, tmp_path / "out", **changes)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", ["../x.vnnlib", "a/b.vnnlib", ".x.vnnlib", "x,y.vnnlib", "x.txt", "", "x\n.vnnlib"])
def test_unsafe_names_are_refused(instances: list[Instance], tmp_path: Path, name: str) -> None:
    bad = dataclasses.replace(instances[0], property=dataclasses.replace(instances[0].property, name=name))
    with pytest.raises(ParameterError, match=r"property name: found .*; allowed: letters, digits"):
        export([bad], tmp_path / "out")


def test_instances_refused(instances: list[Instance], tmp_path: Path) -> None:
    first = instances[0]
    with pytest.raises(ParameterError, match=r"instances: found 0; allowed: at least one. Choose an open image"):
        export([], tmp_path / "out")
    shout = dataclasses.replace(first.property, name=first.property.name.upper().replace("VNNLIB", "vnnlib"))
    with pytest.raises(ParameterError, match=r"property name: found 'LINEAR_.*; allowed: each name once"):
        export([first, dataclasses.replace(first, property=shout)], tmp_path / "out")
    for timeout in (0, -1, float("nan"), float("inf"), True, "240"):
        with pytest.raises(ParameterError, match=r"timeout: found .*; allowed: a number of seconds above 0"):
            export([dataclasses.replace(first, timeout=timeout)], tmp_path / "out")
    with pytest.raises(ParameterError, match=r"levels: found '[0-9a-f]{64}'; allowed: the image [0-9a-f]{64} that"):
        export([dataclasses.replace(first, levels=LEVELS[1])], tmp_path / "out")
    with pytest.raises(ParameterError, match=r"levels: found \('int64', \(1, 2, 2\)\); allowed: uint8 \[1, 2, 2\]"):
        export([dataclasses.replace(first, levels=LEVELS[0].astype(np.int64))], tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_networks_refused(instances: list[Instance], tmp_path: Path) -> None:
    first = instances[0]

    def refuse(network: Path, error: type[Exception], message: str) -> None:
        with pytest.raises(error, match=message):
            export([first, dataclasses.replace(instances[1], network=network)], tmp_path / "out")

    refuse(tmp_path / "none.onnx", NetworkError, "none.onnx.*allowed: a file that exists")
    refuse(toys.two_neuron_net(tmp_path), ExportError, r"two_neuron: input: found \(1, 1, 2\); allowed: \(1, 2, 2\) of")
    (tmp_path / "cut.onnx").write_bytes(first.network.read_bytes()[:-40])
    refuse(tmp_path / "cut.onnx", NetworkError, "cut.onnx")
    (tmp_path / "a b.onnx").write_bytes(first.network.read_bytes())
    refuse(tmp_path / "a b.onnx", ParameterError, "network name: found 'a b'")
    (tmp_path / "sub").mkdir()
    other = toys.random_mlp(tmp_path / "sub", seed=0).rename(tmp_path / "sub/linear.onnx")
    refuse(other, ExportError, r"sub/linear.onnx: found another network of the name linear in")
    assert not (tmp_path / "out").exists()


def test_large_files_are_refused(instances: list[Instance], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nbutils.benchmark.staged_folder.LIMIT_BYTES", 100)
    with pytest.raises(ExportError, match=r"1.0/onnx/linear.onnx: found 0.000[0-9]+ MB; allowed: 0.0001 MB a file"):
        export(instances, tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["linear.onnx"]


# read back


@pytest.mark.parametrize("version", ["1.0", "2.0"])
def test_what_does_not_read_back_is_never_published(
    instances: list[Instance], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, version: str
) -> None:
    def one_ulp_off(prop: Property, wanted: str) -> str:
        if wanted != version:
            return write_text(prop, wanted)
        upper = prop.upper.copy()
        upper[-1] = np.nextafter(upper[-1], np.float32(9))
        return write_text(dataclasses.replace(prop, upper=upper), wanted)

    monkeypatch.setattr(export_module, "write_text", one_ulp_off)
    with pytest.raises(ExportError, match="the upper bounds read back differ from the box that was analysed"):
        export(instances, tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["linear.onnx"]


@pytest.mark.parametrize(
    ("version", "old", "new"), [("1.0", "Y_0 Y_2", "Y_2 Y_0"), ("2.0", "0,0] Y[0,2", "0,2] Y[0,0")]
)
def test_read_back_compares_the_label(
    instances: list[Instance], tmp_path: Path, version: str, old: str, new: str
) -> None:
    prop = instances[0].property
    file = tmp_path / "p.vnnlib"
    text = write_text(prop, version)
    file.write_text(text)
    check_written(file, prop, version)
    file.write_text(write_text(dataclasses.replace(prop, label=1), version))
    with pytest.raises(ExportError, match=r"p.vnnlib: the output constraint read back is not the one for label 2"):
        check_written(file, prop, version)
    assert old in text
    file.write_text(text.replace(old, new))
    with pytest.raises(ExportError, match=r"p.vnnlib: the (output constraint|written file does not read back)"):
        check_written(file, prop, version)
    file.write_text(text[: len(text) // 2])
    with pytest.raises(ExportError, match=r"p.vnnlib: the written file does not read back"):
        check_written(file, prop, version)
    file.write_text(write_text(dataclasses.replace(prop, shape=(1, 1, 4)), "2.0"))
    with pytest.raises(ExportError, match=r"p.vnnlib: the written file does not read back: .*found input shape"):
        check_written(file, prop, "2.0")


def test_a_white_image_is_no_absolute_path():
    """Base64 of bytes 255 begins with a slash."""
    entry = encode_levels(np.full((1, 2, 2), 255, np.uint8))
    assert entry["base64"].startswith("/")
    again = json.loads(dump({"instances": [{"image": entry}]}))["instances"][0]["image"]
    np.testing.assert_array_equal(decode_levels(again), np.full((1, 2, 2), 255, np.uint8))
