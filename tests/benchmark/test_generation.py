"""A benchmark from a seed: the draw, its files in place, and that nothing else in the folder is ever touched."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import subprocess
import sys
import textwrap
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import toys
from generation_toys import HALF, IMAGES, LEVELS, VERDICTS, add_network, draw, generate, state

from nbutils.benchmark import Draw
from nbutils.benchmark.export import LIMIT_SECONDS
from nbutils.benchmark.generation import (
    find_networks,
    plan,
    write_in_place,
)
from nbutils.benchmark.manifest import decode_levels, read_manifest
from nbutils.core import (
    NETWORKS,
    Box,
    ExportError,
    ImageError,
    ImageSet,
    ParameterError,
    SelectionError,
)
from nbutils.properties import read_property

# --- the draw ----------------------------------------------------------------------------------------------------


def test_same_seed_same_bytes_and_another_seed_another(base: Path) -> None:
    states = []
    for seed in (0, 1, 0):
        generate(base, seed)
        states.append(state(base))
    assert states[0] == states[2]
    assert states[0]["instances.csv"] != states[1]["instances.csv"]
    assert len(states[0]["instances.csv"].splitlines()) == 24


def test_the_draw_of_a_seed_is_fixed_for_all_time(base: Path) -> None:
    """Recorded: ranks are SHA-256 over seed, status, network and image; no library's random numbers."""
    indices = [instance.property.meta["index"] for instance in draw(base, 0)[0]]
    assert indices == sorted(indices)
    assert indices[:6] == RECORDED


RECORDED = [0, 3, 12, 18, 21, 27]


def test_the_order_of_the_loaded_images_does_not_matter(base: Path) -> None:
    """Names and manifest tell the recorded index, whatever positions the images have where they were loaded from."""
    first = generate(base) and state(base)
    order = np.random.default_rng(1).permutation(80)
    shuffled = ImageSet(LEVELS[order], IMAGES.labels[order], np.arange(80), "elsewhere", tuple("vwxyz"), HALF)
    generate(base, images=shuffled)
    assert state(base) == first


def test_files_say_what_was_drawn(base: Path) -> None:
    files = generate(base, 5)
    manifest = read_manifest(base / "vnnlib")
    rows = (base / "instances.csv").read_text().splitlines()
    assert files == sorted(manifest["files"]) == sorted(["instances.csv", *(row.split(",")[1] for row in rows)])
    assert manifest["draw"] == {"seed": 5, "mode": "hard"}
    assert manifest["selections"]["toy"]["counts"]["open"] == 50
    assert "packages" not in manifest
    assert "numpy" in manifest["selections"]["toy"]["packages"]
    for row, entry in zip(rows, manifest["instances"], strict=True):
        onnx, path, timeout = row.split(",")
        assert (base / onnx).is_file()
        assert timeout == "200"
        place = IMAGES.keys.index(f"{entry['image_id']}/{entry['label']}")
        assert (decode_levels(entry["image"]) == LEVELS[place]).all()
        prop, box = read_property(base / path), Box.around(IMAGES.pixels[[place]], HALF, 2 / 255)
        assert np.array_equal(prop.lower, box.lower.ravel())
        assert np.array_equal(prop.upper, box.upper.ravel())
        assert prop.label == IMAGES.labels[place]
        assert entry["verdict"]["status"] == "open"
        assert hashlib.sha256((base / path).read_bytes()).hexdigest() == manifest["files"][path]


def test_mixed_mode_flags_the_attackable_in_the_manifest_only(base: Path) -> None:
    """24 instances, a quarter attackable: 6. Names and rows look like all others."""
    files = generate(base, 3, mode="mixed", share=0.25)
    manifest = read_manifest(base / "vnnlib")
    expected = [entry["expected"] for entry in manifest["instances"]]
    assert Counter(expected) == {"unknown": 18, "sat": 6}
    assert all((e["expected"] == "sat") == (e["verdict"]["status"] == "attacked") for e in manifest["instances"])
    assert manifest["draw"] == {"seed": 3, "mode": "mixed", "share": 0.25}
    assert all(re.fullmatch(r"instances.csv|vnnlib/toy_prop_idx_\d+_eps_0.0078.vnnlib", file) for file in files)
    texts = [(base / file).read_text() for file in files]
    assert not any(word in text for text in texts for word in ("attack", "sat", "expected", "open"))
    indices = [entry["index"] for entry in manifest["instances"]]
    assert indices == sorted(indices)


def test_hard_mode_never_draws_an_attackable_image(base: Path) -> None:
    assert {i.verdict.status for seed in range(5) for i in draw(base, seed)[0]} == {"open"}
    assert {i.property.meta["expected"] for i in draw(base)[0]} == {"unknown"}


def test_the_published_five_and_the_limit_of_six_hours(base: Path) -> None:
    for name in NETWORKS:
        add_network(base, name)
    assert list(find_networks(base)) == [*NETWORKS, "toy"]
    with pytest.raises(ParameterError, match=r"sum of timeouts: found 26400; allowed: at most 21600"):
        generate(base)
    assert not (base / "instances.csv").exists()
    (base / "vnnlib" / "selected" / "toy.csv").unlink()
    generate(base)
    rows = [row.split(",") for row in (base / "instances.csv").read_text().splitlines()]
    table = Counter((Path(onnx).stem, int(timeout)) for onnx, _, timeout in rows)
    assert list(table.items()) == [
        (("CIFAR100_resnet_small", 240), 10),
        (("CIFAR100_resnet_medium", 200), 24),
        (("CIFAR100_resnet_large", 200), 24),
        (("CIFAR100_resnet_super", 300), 16),
        (("TinyImageNet_resnet_medium", 200), 24),
    ]
    assert sum(int(timeout) for *_, timeout in rows) == LIMIT_SECONDS
    medium, large = ({r[1].split("_prop_")[1] for r in rows if f"_{size}." in r[0]} for size in ("medium", "large"))
    assert medium != large  # the network's name is part of the draw


def test_fewer_open_images_than_planned_are_all_taken(base: Path) -> None:
    add_network(base, "toy", VERDICTS[:3])
    assert len(draw(base)[0]) == 3
    assert plan("toy") == (24, 200)


# --- refusals ----------------------------------------------------------------------------------------------------


def test_wrong_settings() -> None:
    for how, message in (
        ({"seed": -1}, "SEED: found -1; allowed: a whole number from 0 to"),
        ({"seed": 0, "mode": "easy"}, "mode: found 'easy'; allowed: hard or mixed"),
        ({"seed": 0, "share": 1.0}, "share: found 1.0; allowed: a fraction above 0 and below 1"),
    ):
        with pytest.raises(ParameterError, match=message):
            Draw(**how)


def test_images_of_another_set_are_refused(base: Path) -> None:
    with pytest.raises(
        ImageError, match=r"toy: found 2\d of 24 drawn images missing from npz/toy.npz, first index \d+ w"
    ):
        generate(base, images=IMAGES.take([0, 1]))


def test_nothing_open_is_an_error(base: Path) -> None:
    add_network(base, "toy", VERDICTS[50:])
    with pytest.raises(SelectionError, match="selections of toy: found no image to draw in mode hard"):
        generate(base)


def test_another_network_under_the_name(base: Path) -> None:
    onnx = base / "onnx" / "toy.onnx"
    shutil.copy(toys.tiny_resnet(base, seed=1), onnx)
    with pytest.raises(SelectionError, match=r"toy.csv: found 'verdicts about the network file"):
        generate(base)


def test_a_selection_under_another_name(base: Path) -> None:
    selected = base / "vnnlib" / "selected"
    shutil.copy(base / "onnx" / "toy.onnx", base / "onnx" / "other.onnx")
    (selected / "toy.csv").rename(selected / "other.csv")
    with pytest.raises(SelectionError, match=r"other.csv: network: found 'toy'; allowed: other"):
        generate(base)


# --- in place: nothing but its own files -------------------------------------------------------------------------


def test_foreign_files_stay(base: Path) -> None:
    foreign = {"vnnlib/mine.vnnlib": b"mine", "vnnlib/demo/manifest.json": b"{}", "other.csv": b"x"}
    for name, data in foreign.items():
        (base / name).parent.mkdir(exist_ok=True)
        (base / name).write_bytes(data)
    before = state(base)
    for seed in range(3):
        generate(base, seed)
    after = state(base)
    assert {name: after[name] for name in before} == before
    own = {*read_manifest(base / "vnnlib")["files"], "vnnlib/manifest.json"}
    assert after.keys() - before.keys() == own


@pytest.mark.parametrize("kind", ["foreign csv", "changed property", "changed csv", "link", "folder"])
def test_what_was_not_generated_is_never_replaced(base: Path, kind: str) -> None:
    generate(base, 0)
    csv = base / "instances.csv"
    target = csv if "csv" in kind or kind == "folder" else next((base / "vnnlib").glob("toy_*.vnnlib"))
    if kind == "foreign csv":
        (base / "vnnlib" / "manifest.json").unlink()
    elif kind.startswith("changed"):
        target.write_bytes(target.read_bytes() + b"\n")
    else:
        content = target.read_bytes()
        target.unlink()
        if kind == "folder":
            target.mkdir()
        else:
            (base / "elsewhere").write_bytes(content)
            target.symlink_to(base / "elsewhere")
    before = state(base)
    with pytest.raises(ExportError, match=rf"{target.name}: found a file of another origin.* Move it away"):
        generate(base, 1)
    assert state(base) == before


def test_a_manifest_that_names_other_paths_is_refused(base: Path) -> None:
    generate(base, 0)
    manifest = base / "vnnlib" / "manifest.json"
    content = json.loads(manifest.read_text())
    content["files"]["../precious"] = "0" * 64
    manifest.write_text(json.dumps(content))
    with pytest.raises(ExportError, match=r"manifest.json: found '../precious'; allowed: instances.csv and vnnlib/"):
        generate(base, 1)


def test_files_that_were_removed_are_no_obstacle(base: Path) -> None:
    generate(base, 0)
    next((base / "vnnlib").glob("toy_*.vnnlib")).unlink()
    (base / "instances.csv").unlink()
    generate(base, 1)
    assert set(read_manifest(base / "vnnlib")["files"]) <= set(state(base))


@pytest.mark.parametrize("failing", [1, 2, 9, 30, 40, 49])
def test_a_move_that_fails_leaves_the_earlier_state(base: Path, failing: int, monkeypatch: pytest.MonkeyPatch) -> None:
    generate(base, 0)
    before, rename, calls = state(base), Path.rename, []

    def rename_or_fail(self: Path, target: Path) -> Path:
        if ".generate." in f"{self}{target}" and "partial" not in f"{self}{target}" and len(calls) < failing:
            calls.append(target)
            if len(calls) == failing:
                raise OSError(28, "No space left on device")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", rename_or_fail)
    with pytest.raises(ExportError, match=r"cannot be written \(No space left on device\); everything is as it was"):
        generate(base, 1)
    assert len(calls) == failing
    assert state(base) == before
    assert not list(base.glob(".generate*"))


@pytest.mark.parametrize("first", [True, False], ids=["first run", "second run"])
@pytest.mark.parametrize("failing", [1, 2])
def test_a_manifest_that_cannot_be_placed_leaves_the_earlier_state(
    base: Path, first: bool, failing: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not first:
        generate(base, 0)
    before, replace, calls = state(base), Path.replace, []

    def replace_or_fail(self: Path, target: Path) -> Path:
        if Path(target) == base / "vnnlib" / "manifest.json":
            calls.append(self.name)
            if len(calls) == failing:
                raise OSError(5, "Input/output error")
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", replace_or_fail)
    with pytest.raises(ExportError, match=r"cannot be written \(Input/output error\); everything is as it was"):
        generate(base, 1)
    assert calls[:2] == ["journal", "final"][:failing] + (["before"] if failing == 1 and not first else [])
    assert state(base) == before


KILLED = """
    import os, sys
    from pathlib import Path
    sys.path[:0] = {tests!r}
    from test_generation import generate
    rename, calls = Path.rename, []
    def rename_or_die(self, target):
        if ".generate." in f"{{self}}{{target}}" and "partial" not in f"{{self}}{{target}}":
            calls.append(1)
            if len(calls) == {number}:
                os.kill(os.getpid(), 9)
        return rename(self, target)
    Path.rename = rename_or_die
    generate(Path({base!r}), 1)
"""


@pytest.mark.parametrize("number", [2, 30])
def test_a_kill_between_two_moves_is_put_right_by_the_next_run(base: Path, number: int) -> None:
    generate(base, 2)
    wanted = state(base)
    generate(base, 0)
    script = textwrap.dedent(KILLED).format(
        tests=[str(folder) for folder in Path(__file__).parents[:2]], base=str(base), number=number
    )
    assert subprocess.run([sys.executable, "-c", script], capture_output=True).returncode == -9
    assert state(base) != wanted
    generate(base, 2)
    left = state(base)
    assert {name: data for name, data in left.items() if not name.startswith(".generate")} == wanted


def test_a_folder_that_cannot_be_written(base: Path) -> None:
    instances, manifest = draw(base)
    with pytest.raises(ExportError, match=r"nowhere: cannot be written \(No such file.*use --out FOLDER"):
        write_in_place(instances, manifest, base=base / "nowhere")
