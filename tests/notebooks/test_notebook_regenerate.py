"""A benchmark regenerated: recorded or fresh, drawn, exported, audited, replayed; and the notebook end to end."""

from __future__ import annotations

import dataclasses
import gzip
import hashlib
import json
from pathlib import Path

import nbformat
import numpy as np
import pytest
import toys
from test_funnel import CONFIG, NORMALIZATION, images, verdicts  # noqa: F401  (fixtures)

from nbutils import plots
from nbutils.benchmark import Draw, export_benchmark, generation
from nbutils.benchmark.audit import audit_benchmark
from nbutils.benchmark.generation import draw_instances
from nbutils.benchmark.regeneration import attack_points, drawn_by_network, load_pool, pick_networks, settle
from nbutils.core import (
    NETWORKS,
    Box,
    NetworkError,
    NotebookError,
    ParameterError,
    Property,
    PropertyError,
    SelectionError,
    misnamed_index,
    replay,
    settings,
)
from nbutils.core.published_numbers import true_index
from nbutils.findings import robustness
from nbutils.images import CIFAR100
from nbutils.notebook import find_notebook, run_notebook
from nbutils.properties import write_text
from nbutils.published.report import replay_published
from nbutils.selection import keep_images, make_selection, write_selected

SMALL = {"STEPS": 4, "RESTARTS": 2, "METHOD": "crown-ibp"}


@pytest.fixture
def base(tmp_path, monkeypatch):
    """A checkout with the toy network and no selection."""
    (tmp_path / "onnx").mkdir()
    toys.tiny_resnet(tmp_path / "onnx")
    monkeypatch.setattr(settings, "root", lambda: tmp_path)
    return tmp_path


@pytest.fixture
def networks(base):
    return pick_networks(["tiny_resnet"])


def record(base, tiny_resnet, images, verdicts):  # noqa: F811
    path = base / "vnnlib" / "selected" / "tiny_resnet.csv"
    return write_selected(path, tiny_resnet, verdicts, CONFIG, NORMALIZATION, images.source)


def test_networks_are_picked_by_name(base):
    toys.random_mlp(base / "onnx", seed=0)
    assert list(pick_networks(["tiny_resnet", "mlp_0"])) == ["tiny_resnet", "mlp_0"]
    with pytest.raises(
        ParameterError, match="NETWORKS: found 'other'; allowed: names of networks in onnx/: mlp_0, tiny"
    ):
        pick_networks(["other"])
    with pytest.raises(ParameterError, match=r"NETWORKS: found \[\]"):
        pick_networks([])


def test_fresh_and_recorded_selections_are_the_same(base, networks, tiny_resnet, images, verdicts):  # noqa: F811
    with pytest.raises(SelectionError, match=r"selected/tiny_resnet.csv: .* or set SELECTION to fresh"):
        settle(networks, [images], CONFIG, "recorded")
    record(base, tiny_resnet, images, verdicts)
    (fresh,) = settle(networks, [images], CONFIG, "fresh").values()
    (recorded,) = settle(networks, [], CONFIG, "recorded").values()
    assert fresh.text() == recorded.text()
    assert fresh.of("open")[0].point is not None
    with pytest.raises(ParameterError, match="SELECTION: found 'both'; allowed: recorded or fresh"):
        settle(networks, [images], CONFIG, "both")


def test_images_of_another_size_are_refused(networks, images):  # noqa: F811
    large = dataclasses.replace(images, levels=np.zeros((40, 3, 9, 9), np.uint8))
    with pytest.raises(NetworkError, match=r"found images random \(3, 9, 9\); allowed: images \(3, 8, 8\)"):
        settle(networks, [large], CONFIG, "fresh")
    assert settle(networks, [large, images], CONFIG, "fresh")["tiny_resnet"].source == "random"


def test_the_pool_is_one_source_or_the_data_sets_of_the_cards(networks):
    (pool,) = load_pool("embedded", None, None, networks, "fresh")
    assert len(pool) == 20
    with pytest.raises(
        ParameterError, match="data set of tiny_resnet: found None; allowed: a card that names cifar100"
    ):
        load_pool(None, None, None, networks, "fresh")


def test_a_recorded_selection_brings_its_own_pixels(base, networks, tiny_resnet, images, verdicts):  # noqa: F811
    with pytest.raises(SelectionError, match="selected/tiny_resnet.csv"):
        load_pool(None, None, None, networks, "recorded")
    record(base, tiny_resnet, images, verdicts)
    with pytest.raises(ParameterError, match="data set of tiny_resnet"):
        load_pool(None, None, None, networks, "recorded")  # no pixels beside it, and no card
    selection = settle(networks, [], CONFIG, "recorded")["tiny_resnet"]
    wanted = {verdict.key for verdict in selection.verdicts}
    keep_images(base / "vnnlib" / "selected" / "tiny_resnet.npz", images, wanted)
    (pool,) = load_pool(None, None, None, networks, "recorded")
    assert set(pool.keys) == wanted
    assert len(draw_instances({"tiny_resnet": selection}, networks, [pool], Draw(seed=0))) > 0


def test_a_stratified_draw_tells_levels(base, networks, tiny_resnet, images, verdicts):  # noqa: F811
    selection = make_selection(tiny_resnet, verdicts, CONFIG, NORMALIZATION, images.source)
    alpha = {verdict.key: verdict.bound + 0.5 * n for n, verdict in enumerate(selection.of("open"))}
    selection = dataclasses.replace(selection, alpha=alpha)
    groups = generation.levels(selection)
    instances = draw_instances({"tiny_resnet": selection}, networks, [images], Draw(seed=0, mode="stratified"))
    drawn = drawn_by_network(instances, [images])["tiny_resnet"]
    assert all(v.key in {g.key for g in groups[lv]} for v, lv in zip(drawn.verdicts, drawn.levels, strict=True))
    mine = [verdict for verdict in selection.best if verdict.key in drawn.keys][:3]
    text = robustness.of_draw(mine, selection.best, 24, ["hard", "easy", "hard"])
    assert text.endswith(". By hardness: 1 easy, 2 hard; easy ones are proved by alpha-CROWN.")
    hard = drawn_by_network(draw_instances({"tiny_resnet": selection}, networks, [images], Draw(seed=0)), [images])
    assert hard["tiny_resnet"].levels == ()


@pytest.mark.parametrize(("mode", "attacked"), [("hard", 0), ("mixed", 1)])
def test_draw_export_audit(base, networks, tiny_resnet, images, verdicts, mode, attacked):  # noqa: F811
    """Open ones and, in mode mixed, attackable ones, whose points must be counterexamples."""
    selections = {"tiny_resnet": make_selection(tiny_resnet, verdicts, CONFIG, NORMALIZATION, images.source)}
    how = Draw(seed=0, mode=mode, share=0.05)
    instances = draw_instances(selections, networks, [images], how)
    drawn = drawn_by_network(instances, [images])["tiny_resnet"]
    assert sum(v.status == "attacked" for v in drawn.verdicts) == attacked
    assert drawn.keys == drawn.images.keys == tuple(i.verdict.key for i in instances)
    assert (drawn.images.indices == [v.index for v in drawn.verdicts]).all()
    points = attack_points(instances)
    assert len(points) == len(instances)
    export_benchmark(instances, base / "out", manifest=generation.facts(selections, how))
    report = audit_benchmark(base / "out", {"tiny_resnet": NORMALIZATION}, points=points, images=[images])
    assert report.ok, report.failures
    assert report.checks[-1].count == len(instances)
    text = robustness.of_draw(drawn.verdicts, selections["tiny_resnet"].verdicts, 24)
    assert ("Put among them: 1 of " in text) == bool(attacked)


def test_without_stored_points_the_audit_says_so(base, networks, tiny_resnet, images, verdicts):  # noqa: F811
    record(base, tiny_resnet, images, verdicts)
    selections = settle(networks, [images], CONFIG, "recorded")
    instances = draw_instances(selections, networks, [images], Draw(seed=0))
    assert attack_points(instances) == {}
    export_benchmark(instances, base / "out", manifest=generation.facts(selections, Draw(seed=0)))
    report = audit_benchmark(base / "out", {"tiny_resnet": NORMALIZATION}, images=[images])
    text = robustness.of_audit(report)
    assert text.startswith(f"**Nothing was found wrong** with {len(instances)} instances.")
    assert "one where attacked | nothing to check |  |" in text


def test_failures_are_listed_by_file(base, networks, tiny_resnet, images, verdicts):  # noqa: F811
    record(base, tiny_resnet, images, verdicts)
    selections = settle(networks, [images], CONFIG, "recorded")
    instances = draw_instances(selections, networks, [images], Draw(seed=0))
    export_benchmark(instances, base / "out", manifest={})
    (base / "out" / "2.0" / "instances.csv").unlink()
    text = robustness.of_audit(audit_benchmark(base / "out", {"tiny_resnet": NORMALIZATION}))
    assert text.startswith("**2 failures**, listed below the table; do not publish this folder.")
    assert "\n- 2.0/instances.csv: missing\n" in text
    report = audit_benchmark(base / "out", {})
    check = dataclasses.replace(report.checks[0], failures=tuple(f"f{i}: x" for i in range(60)))
    many = dataclasses.replace(report, checks=(check,))
    assert robustness.of_audit(many).endswith("- f49: x\n- and 10 more")


def test_the_funnel_of_counts(tiny_resnet, images, verdicts):  # noqa: F811
    selection = make_selection(tiny_resnet, verdicts, CONFIG, NORMALIZATION, images.source)
    view, whole = plots.counts_view(selection.counts, name="net"), plots.funnel_view(verdicts)
    assert [(s.entered, s.taken) for s in view.stages] == [(s.entered, s.taken) for s in whole.stages]
    assert view.title.startswith("net: ")
    ax = plots.draw_counts(selection.counts)
    assert "of 40 images" in plots.describe(ax)
    with pytest.raises(ParameterError, match="counts: found .* allowed: misclassified, attacked, verified, open"):
        plots.counts_view({"open": 3})
    with pytest.raises(ParameterError, match="counts: found 0; allowed: 1 image or more"):
        plots.counts_view(dict.fromkeys(selection.counts, 0))
    text = robustness.of_selection(selection)
    assert text.startswith(
        "40 images of random at 6/255, PGD of 20 steps x 5 restarts, bounds by crown: misclassified 5"
    )


def test_a_draw_tells_its_gap_from_that_of_all(verdicts):  # noqa: F811
    left = [verdict for verdict in verdicts if verdict.status == "open"]
    whole = float(np.median([verdict.hardness for verdict in left]))
    text = robustness.of_draw(left[:2], verdicts, 2)
    assert text.startswith(f"**2 of {len(left)} open images** were drawn. Their median gap is ")
    assert f"that of all open images {whole:.2f}" in text
    assert robustness.of_draw(left, left, 99).endswith("all there are (99 instances were planned), whatever the seed.")
    attacked = [verdict for verdict in verdicts if verdict.status == "attacked"]
    assert robustness.of_draw(attacked[:2], verdicts, 2).endswith(
        f"open images** were drawn. Put among them: 2 of {len(attacked)} attackable images."
    )


def published_folder(folder: Path, files=2) -> Path:
    """Lists of our own making, a table, and property files around random images."""
    listed = "".join(f"{sidx}\n" for sidx in range(100, 130))
    (folder / "CIFAR100_resnet_small_list.txt").write_text(listed)
    instances = replay(folder, 0, ["CIFAR100_resnet_small"])
    (folder / "instances.csv").write_text("".join(f"{instance.row}\n" for instance in instances))
    for number, instance in enumerate(instances[:files]):
        levels = np.random.default_rng(number).integers(0, 256, (3, 32, 32), dtype=np.uint8)
        box = Box.around(levels[None].astype(np.float32) / np.float32(255), CIFAR100.normalization, 1 / 255)
        prop = Property(box.lower.ravel(), box.upper.ravel(), 7, 100, levels.shape, instance.name)
        (folder / f"{instance.name}.gz").write_bytes(gzip.compress(write_text(prop).encode()))
    return folder


def test_the_published_lists_are_replayed(tmp_path):
    report = replay_published(published_folder(tmp_path), 0)
    assert (report.table, report.rows, report.same_rows) == ("instances.csv", 10, 10)
    assert [file.same for file in report.files] == [True, True]
    assert [file.instance for file in report.files] == list(report.instances[:2])
    assert report.misnamed == sum(misnamed_index(i.sidx) != true_index(i.sidx) for i in report.instances)
    (pictures,) = report.pictures
    assert pictures.indices.tolist() == [file.instance.index for file in report.files]
    text = robustness.of_published(report)
    assert "**10 of the 10 rows** of instances.csv are given to the letter" in text
    assert "**2 of 2** published property files here come out byte for byte" in text
    assert "0 of these images are among the loaded ones" in text
    known = replay_published(tmp_path, 0, [pictures])
    assert {file.known for file in known.files} == {pictures.source}


def test_what_differs_from_the_published_is_counted(tmp_path):
    folder = published_folder(tmp_path)
    rows = (folder / "instances.csv").read_text().splitlines()
    (folder / "instances.csv").write_text("\n".join([rows[1], rows[0], *rows[2:]]))
    path = next(folder.glob("*.vnnlib.gz"))
    path.write_bytes(gzip.compress(gzip.decompress(path.read_bytes()) + b"; one more line\n"))
    report = replay_published(folder, 0)
    assert report.same_rows == 8
    assert sorted(file.same for file in report.files) == [False, True]
    other = replay_published(folder, 1)
    assert (other.table, other.rows) == (None, 0), "instances.csv is that of seed 0"
    assert "no published table to compare with" in robustness.of_published(other)


def test_a_folder_without_lists_is_one_clear_error(tmp_path):
    with pytest.raises(PropertyError, match="PUBLISHED: .* allowed: a folder with the published lists"):
        replay_published(tmp_path)


def test_the_official_benchmark_is_replayed_to_the_letter(shared):
    report = replay_published(shared / "official", 0)
    assert (report.rows, report.same_rows, len(report.instances)) == (98, 98, 98)
    assert len(report.files) == 4
    assert all(file.same for file in report.files)
    assert [len(pictures) for pictures in report.pictures] == [3, 1]
    assert {file.instance.network for file in report.files} < set(NETWORKS)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """One run of the notebook at toy size, with the published section."""
    folder = tmp_path_factory.mktemp("regenerate")
    (folder / "published").mkdir()
    published_folder(folder / "published", files=1)
    execute(folder, "out", PUBLISHED=str(folder / "published"), report=folder / "report.html")
    return folder


def execute(folder, name, *, report=None, **changes):
    parameters = SMALL | {"OUT_DIR": str(folder / name)} | changes
    return run_notebook(find_notebook("regenerate"), parameters, folder / f"{name}.ipynb", report=report)


def tree(folder):
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}


def test_the_notebook_shows_describes_and_explains(run):
    cells = nbformat.read(run / "out.ipynb", as_version=4).cells
    shown = [output for cell in cells for output in cell.get("outputs", []) if "image/png" in output.get("data", {})]
    assert len(shown) == 4, "funnel, drawn images, hardness, published images"
    assert all(len(output.metadata["image/png"]["alt"]) > 20 for output in shown)
    html = (run / "report.html").read_text()
    for text in ("Nothing was found wrong", "10 of the 10 rows", "open images", "attack points, judged again"):
        assert text in html
    assert "require(" not in html


def test_the_notebook_writes_an_audited_benchmark(run):
    manifest = json.loads((run / "out" / "manifest.json").read_text())
    assert manifest["draw"] == {"seed": 0, "mode": "hard"}
    assert manifest["made_by"] == "notebooks/regenerate.ipynb"
    rows = [(run / "out" / version / "instances.csv").read_text() for version in ("1.0", "2.0")]
    assert rows[0] == rows[1]
    assert len(rows[0].splitlines()) == len(manifest["instances"]) > 0
    found = audit_benchmark(run / "out", {"CIFAR100_resnet_small": CIFAR100.normalization})
    assert found.ok, found.failures


@pytest.mark.slow
def test_the_same_seed_gives_the_same_bytes(run):
    execute(run, "again")
    assert tree(run / "out") == tree(run / "again")


def test_settings_are_checked_before_anything_is_computed(tmp_path):
    with pytest.raises(NotebookError, match="cell 3 failed with ParameterError: mode: found 'easy'"):
        execute(tmp_path, "out", MODE="easy")
    assert not (tmp_path / "out").exists()
