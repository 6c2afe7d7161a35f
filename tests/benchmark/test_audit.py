"""The audit finds what is wrong in a benchmark folder: every mutation is found by the check meant for it.

Each mutation is followed by writing its new hash into the manifest, so that the check of the content has to find it;
without that the hash finds every one of them.
"""

import gzip
import json
import re
import shutil
from dataclasses import replace

import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from test_funnel import CONFIG, NORMALIZATION, images, verdicts  # noqa: F401  (fixtures)

from nbutils import plots
from nbutils.benchmark import export_benchmark, sha256
from nbutils.benchmark.audit import audit_benchmark
from nbutils.benchmark.manifest import read_manifest
from nbutils.core import ExportError, ImageSet, ParameterError, Verdict
from nbutils.properties import write_text
from nbutils.selection import choose, instances_of

NORMALIZATIONS = {"tiny_resnet": NORMALIZATION}


@pytest.fixture(scope="module")
def chosen(verdicts):  # noqa: F811
    found = choose(verdicts, 3, seed=0)
    assert len(found) == 3, "precondition: three open images"
    return found


@pytest.fixture(scope="module")
def points(chosen, instances):
    return {instance.property.name: instance.verdict.point for instance in instances}


@pytest.fixture(scope="module")
def instances(tiny_resnet, images, chosen):  # noqa: F811
    return instances_of(chosen, images, tiny_resnet, CONFIG, timeout=60.0)


@pytest.fixture(scope="module")
def written(instances, tmp_path_factory):
    """One folder a layout, gzipped or not."""
    folder = tmp_path_factory.mktemp("audit")
    facts = {"seed": 0, "settings": CONFIG.as_dict()}
    export_benchmark(instances, folder / "plain", manifest=facts)
    export_benchmark(instances, folder / "zipped", manifest=facts, gzip=True)
    for layout in ("flat", "published"):
        export_benchmark(instances, folder / layout, manifest=facts, layout=layout, versions=["1.0"])
    return folder


@pytest.fixture
def copy(written, tmp_path):
    def copy(name="plain"):
        return shutil.copytree(written / name, tmp_path / name)

    return copy


def rehash(folder):
    """Make the manifest's hashes those of the files, as a careful forger would."""
    edit(folder, lambda m: m.update(files={path: sha256((folder / path).read_bytes()) for path in m["files"]}))


def edit(folder, change):
    manifest = json.loads((folder / "manifest.json").read_text())
    change(manifest)
    (folder / "manifest.json").write_text(json.dumps(manifest))


def failing(report):
    """First word of each check with failures, and the failures."""
    return [check.question.split(":")[0].split(",")[0] for check in report.checks if check.failures], report.failures


def names(folder):
    return [entry["property"] for entry in read_manifest(folder)["instances"]]


@pytest.mark.parametrize("name", ["plain", "zipped", "flat", "published"])
def test_what_was_exported_passes_every_check(written, images, points, name):  # noqa: F811
    report = audit_benchmark(written / name, NORMALIZATIONS, points=points, images=[images])
    assert report.ok, report.failures
    report.demand()
    versions = 1 if name in ("flat", "published") else 2
    counts = {check.question.split(":")[0].split(",")[0]: check.count for check in report.checks}
    assert counts == {
        "manifest": 3,
        "images": 3,
        "files": 5 * versions,
        "instances.csv": 1 + 4 * versions,
        "properties": 3 * versions,
        "networks": versions,
        "centres": 3,
        "attack points": 3,
    }
    assert report.instances == 3


def digit(path, place):
    """Change one digit of the fiftieth upper bound: the `place`-th behind the point."""
    raw = path.read_bytes()
    lines = (gzip.decompress(raw) if path.suffix == ".gz" else raw).split(b"\n")
    row = [i for i, line in enumerate(lines) if b"assert (<= X" in line][50]
    line = bytearray(lines[row])
    at = line.rindex(b".") + place
    line[at] = ord("1") if line[at] != ord("1") else ord("2")
    lines[row] = bytes(line)
    text = b"\n".join(lines)
    path.write_bytes(gzip.compress(text) if path.suffix == ".gz" else text)


@pytest.mark.parametrize("name", ["plain", "zipped"])
@pytest.mark.parametrize("version", ["1.0", "2.0"])
@pytest.mark.parametrize("forged", [False, True])
def test_one_digit_of_a_property_is_found(copy, name, version, forged):
    folder = copy(name)
    (target,) = (folder / version / "vnnlib").glob(names(folder)[1] + "*")
    digit(target, place=5)
    if forged:
        rehash(folder)
    report = audit_benchmark(folder, NORMALIZATIONS)
    where, failures = failing(report)
    assert where == (["properties"] if forged else ["files", "properties"])
    assert all(failure.startswith(f"{version}/vnnlib/{names(folder)[1]}") for failure in failures)
    assert "the upper bounds read back differ" in failures[-1]


def test_a_digit_that_float32_cannot_hold_is_found_by_the_hash(copy):
    folder = copy()
    digit(folder / "1.0" / "vnnlib" / names(folder)[0], place=14)
    where, failures = failing(audit_benchmark(folder, NORMALIZATIONS))
    assert where == ["files"]
    assert failures == (f"1.0/vnnlib/{names(folder)[0]}: not the bytes of the manifest's hash",)


@pytest.mark.parametrize("version", ["1.0", "2.0"])
def test_another_label_in_a_file_is_found(copy, instances, version):
    folder = copy()
    prop = instances[0].property
    swapped = write_text(replace(prop, label=(prop.label + 1) % 5), version)
    (folder / version / "vnnlib" / prop.name).write_text(swapped)
    rehash(folder)
    where, failures = failing(audit_benchmark(folder, NORMALIZATIONS))
    assert where == ["properties"]
    assert len(failures) == 1
    assert f"the output constraint read back is not the one for label {prop.label}" in failures[0]


def test_labels_swapped_everywhere_are_found_by_the_judge(tiny_resnet, images, instances, tmp_path):  # noqa: F811
    """Files and manifest agree with each other and are wrong: only network and source can tell."""
    forged = []
    for instance in instances:
        label = (instance.property.label + 1) % 5
        prop = replace(instance.property, label=label)
        forged.append(replace(instance, property=prop, verdict=replace(instance.verdict, label=label)))
    export_benchmark(forged, tmp_path / "out", manifest={})
    where, failures = failing(audit_benchmark(tmp_path / "out", NORMALIZATIONS, images=[images]))
    assert where == ["images", "centres"]
    assert "tiny_resnet answers" in failures[-1]


@pytest.mark.parametrize("version", ["1.0", "2.0"])
def test_a_dropped_row_is_found(copy, version):
    folder = copy()
    table = folder / version / "instances.csv"
    table.write_text("".join(table.read_text().splitlines(keepends=True)[1:]))
    rehash(folder)
    where, failures = failing(audit_benchmark(folder, NORMALIZATIONS))
    assert where == ["instances.csv"]
    assert f"{version}/instances.csv: 2 rows, 3 instances" in failures


def test_another_order_in_one_version_is_found(copy):
    folder = copy()
    table = folder / "2.0" / "instances.csv"
    table.write_text("".join(table.read_text().splitlines(keepends=True)[::-1]))
    rehash(folder)
    where, failures = failing(audit_benchmark(folder, NORMALIZATIONS))
    assert where == ["instances.csv"]
    assert [failure.split(":")[0] for failure in failures] == [
        "2.0/instances.csv, row 1",
        "2.0/instances.csv, row 3",
    ]


EDITS = {  # what is changed, and a failure it must give
    "label": (
        lambda m: m["instances"][0].update(label=(m["instances"][0]["label"] + 1) % 5),
        r"label \d, its verdict's is",
    ),
    "eps": (lambda m: m["instances"][1].update(eps=m["instances"][1]["eps"] * 1.001), "bounds read back differ"),
    "timeout": (lambda m: m["instances"][0].update(timeout=61), "instances.csv, row 1"),
    "six hours": (lambda m: m["instances"][0].update(timeout=90000), "timeouts sum to 90120 s, VNN-COMP allows 21600"),
    "index": (lambda m: m["instances"][0].update(index=999), "index 999, its verdict's is"),
    "image": (lambda m: m["instances"][0].update(image=m["instances"][1]["image"]), "image of hash"),
    "image text": (lambda m: m["instances"][0]["image"].update(base64="!"), "instance 1: .*cannot be decoded"),
    "nothing": (lambda m: m["instances"][0].pop("timeout"), r"instance 1: not as an export writes it \(KeyError"),
    "network hash": (lambda m: m["networks"]["tiny_resnet"].update(sha256="0" * 64), "not the network of"),
    "network name": (lambda m: m["instances"][0].update(network="other"), "no normalization was given for"),
    "status": (lambda m: m["instances"][0]["verdict"].update(status="verified"), "verified images are no instances"),
    "attacked": (lambda m: m["instances"][0]["verdict"].update(status="attacked"), "attacked with attack margin"),
    "bound": (lambda m: m["instances"][0]["verdict"].update(bound=9.0), "open with bound 9 above attack margin"),
    "hardness": (lambda m: m["instances"][0]["verdict"].update(hardness=9.0), "hardness 9.0, should be"),
    "no attack": (lambda m: m["instances"][0]["verdict"].update(attack_margin=None), "open without attack margin"),
    "natural": (lambda m: m["instances"][0]["verdict"].update(natural_margin=9.0), "the manifest says 9"),
    "file gone": (lambda m: m["files"].pop("1.0/instances.csv"), "1.0/instances.csv: not in the manifest"),
    "version": (lambda m: m.update(vnnlib_versions=["1.0"]), "2.0/instances.csv: belongs to no instance"),
    "no version": (lambda m: m.update(vnnlib_versions=[]), "1.0/instances.csv: belongs to no instance"),
    "gzip": (lambda m: m.update(gzip=True), r"vnnlib.gz: missing"),
    "instance gone": (lambda m: m["instances"].pop(), "3 rows, 2 instances"),
    "versions": (lambda m: m.update(vnnlib_versions=5), r"manifest.json: not as an export writes it \(TypeError"),
    "instances": (lambda m: m.update(instances=["x"]), r"instance 1: not as an export writes it \(TypeError"),
    "timeout text": (lambda m: m["instances"][0].update(timeout="ten"), "not as an export writes it .ValueError"),
    "networks": (lambda m: m.update(networks=[]), "manifest.json: not as an export writes it .AttributeError"),
    "path": (lambda m: m["instances"][0].update(property="../../../../x.vnnlib"), r"x.vnnlib: missing"),
}


@pytest.mark.parametrize("name", EDITS)
def test_an_edited_manifest_is_found(copy, name):
    change, message = EDITS[name]
    folder = copy()
    edit(folder, change)
    report = audit_benchmark(folder, NORMALIZATIONS)
    assert any(re.search(message, failure) for failure in report.failures), report.failures


@pytest.mark.parametrize("forged", [False, True])
@pytest.mark.parametrize("version", ["1.0", "2.0"])
def test_another_network_is_found(copy, version, forged):
    """One weight moved by a thousandth: the file opens and answers, but it is not the network of the manifest."""
    folder = copy()
    path = folder / version / "onnx" / "tiny_resnet.onnx"
    model = onnx.load(path)
    weight = next(tensor for tensor in model.graph.initializer if tensor.name == "2.b")
    weight.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(weight) + np.float32(1e-3), "2.b"))
    onnx.save(model, path)
    if forged:
        rehash(folder)
    where, failures = failing(audit_benchmark(folder, NORMALIZATIONS))
    assert where == (["networks"] if forged else ["files", "networks"])
    assert all(failure.startswith(f"{version}/onnx/tiny_resnet.onnx: ") for failure in failures)


def test_a_network_with_all_hashes_forged_is_found_by_its_answers(copy, points):
    folder = copy()
    for version in ("1.0", "2.0"):
        path = folder / version / "onnx" / "tiny_resnet.onnx"
        model = onnx.load(path)
        weight = next(tensor for tensor in model.graph.initializer if tensor.name == "2.b")
        weight.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(weight)[::-1].copy() * 5, "2.b"))
        onnx.save(model, path)
    rehash(folder)
    edit(folder, lambda m: m["networks"]["tiny_resnet"].update(sha256=m["files"]["1.0/onnx/tiny_resnet.onnx"]))
    where, _ = failing(audit_benchmark(folder, NORMALIZATIONS, points=points))
    assert where == ["centres", "attack points"]


def test_broken_files_are_failures_and_no_crash(copy):
    folder = copy()
    for version in ("1.0", "2.0"):
        (folder / version / "onnx" / "tiny_resnet.onnx").write_bytes(b"no network")
    first, second, third = (folder / "1.0" / "vnnlib" / name for name in names(folder))
    first.write_bytes(b"\xff\xfe")
    second.unlink()
    third.unlink()
    third.symlink_to(second)
    (folder / "2.0" / "instances.csv").unlink()
    (folder / "2.0" / "stray.txt").write_text("")
    where, failures = failing(audit_benchmark(folder, NORMALIZATIONS))
    assert where == ["files", "instances.csv", "properties", "networks"]
    for wanted in (
        f"1.0/vnnlib/{second.name}: missing",
        f"1.0/vnnlib/{third.name}: no plain file",
        "2.0/stray.txt: not in the manifest",
        "2.0/instances.csv: missing",
        "1.0/onnx/tiny_resnet.onnx: not the network of the manifest's hash",
    ):
        assert wanted in failures
    assert any(failure.startswith(f"1.0/vnnlib/{first.name}: ") and "read back" in failure for failure in failures)


def test_another_image_source_is_found(written, images):  # noqa: F811
    where, failures = failing(audit_benchmark(written / "plain", NORMALIZATIONS, images=[images.take([0])]))
    assert where == ["images"]
    assert "is not in random" in failures[0]
    turned = ImageSet(
        images.levels, images.labels, images.indices[::-1].copy(), "random", images.class_names, images.normalization
    )
    _, failures = failing(audit_benchmark(written / "plain", NORMALIZATIONS, images=[turned]))
    assert failures[0].endswith("of random is another one")
    elsewhere = replace(turned, source="sorted")
    assert audit_benchmark(written / "plain", NORMALIZATIONS, images=[elsewhere]).ok, "another order, other indices"


def test_attack_points_are_judged_again(written, tiny_resnet, instances, points):
    """A counterexample to an open instance is found out; so are a point outside the box and another point."""
    name = instances[0].property.name
    box = instances[0].property.box
    cases = {
        "lies outside the box": box.upper[0] + np.float32(1),
        "shape": box.upper[0, :1],
        "at the attack point, the manifest says": box.center[0],
    }
    for message, point in cases.items():
        report = audit_benchmark(written / "plain", NORMALIZATIONS, points=points | {name: point})
        where, failures = failing(report)
        assert where == ["attack points"]
        assert failures[0].startswith(name)
        assert ("lies outside the box" if message == "shape" else message) in failures[0]


def test_a_counterexample_to_an_open_instance_is_found(tiny_resnet, images, verdicts, tmp_path):  # noqa: F811
    """An attacked image exported as open: its attack point gives it away, and nothing else can."""
    broken = next(verdict for verdict in verdicts if verdict.status == "attacked")
    bound = broken.attack_margin - 1.0
    lie = replace(broken, status="open", attack_margin=0.1, bound=bound, bound_method="crown")
    (instance,) = instances_of([lie], images, tiny_resnet, CONFIG, timeout=60.0)
    export_benchmark([instance], tmp_path / "out", manifest={})
    assert audit_benchmark(tmp_path / "out", NORMALIZATIONS).ok, "numbers alone do not tell"
    report = audit_benchmark(tmp_path / "out", NORMALIZATIONS, points={instance.property.name: broken.point})
    assert failing(report)[0] == ["attack points"]
    assert "open, but the stored attack point has margin -" in report.failures[0]
    honest = [replace(instance, verdict=replace(broken, bound=None))]
    export_benchmark(honest, tmp_path / "mixed", manifest={})
    points = {instance.property.name: broken.point}
    assert audit_benchmark(tmp_path / "mixed", NORMALIZATIONS, points=points).ok


def test_failures_end_the_run_on_demand(copy):
    folder = copy()
    (folder / "1.0" / "instances.csv").unlink()
    report = audit_benchmark(folder, NORMALIZATIONS)
    with pytest.raises(ExportError, match=r"plain: the audit found 2 failure\(s\): 1.0/instances.csv: missing"):
        report.demand()


def test_a_folder_without_manifest_is_one_clear_error(tmp_path):
    with pytest.raises(ExportError, match="allowed: the manifest of an export"):
        audit_benchmark(tmp_path, NORMALIZATIONS)


def verdict(number, attack=1.5, bound=-0.5, status="open"):
    return Verdict(
        image_id=f"{number:064x}", index=number, label=3, predicted=3, status=status, decided_by="full attack",
        natural_margin=2.0, attack_margin=attack, bound=bound, bound_method="crown",
    )  # fmt: skip


def test_hardness_is_the_gap_of_open_images_alone():
    """Gaps 1, 2, 3 by hand; the attacked image has a gap too and is no part of the distribution."""
    pool = [verdict(0, 2.0, -1.0), verdict(1, 0.5, -0.5), verdict(2, 1.5, -0.5), verdict(3, -1.0, -9.0, "attacked")]
    view = plots.hardness_view(pool, [pool[0].key, pool[3].key], name="net")
    assert view.hardness.tolist() == [1.0, 2.0, 3.0]
    assert view.drawn.tolist() == [False, False, True]
    assert view.title == "net: 1 of 3 open images drawn"
    assert "from 1.00 to 3.00, median 2.00; drawn: 3.00." in view.alt
    assert np.histogram(view.hardness, view.edges)[0].sum() == 3, "every image is in a bin"
    assert plots.hardness_view(pool).title == "3 open images"


def test_the_histogram_shows_every_image_once_and_marks_the_drawn():
    pool = [verdict(number, 0.1 + number / 7) for number in range(30)]
    ax = plots.draw_hardness(pool, [pool[4].key, pool[20].key])
    heights = [bar.get_height() for bars in ax.containers for bar in bars]
    assert sum(heights) == 30
    (marks,) = [line for line in ax.lines if line.get_marker() == "D"]
    assert marks.get_xdata().tolist() == sorted([pool[4].hardness, pool[20].hardness])
    assert all(tick >= 0 for tick in ax.get_yticks())
    assert plots.describe(ax).startswith("2 of 30 open images drawn. Histogram")
    assert [text.get_text() for text in ax.get_legend().get_texts()] == [
        "drawn (2), each one marked below",
        "not drawn (28)",
        "median of all: 2.67",
    ]


def test_hardness_needs_open_images_with_both_numbers():
    with pytest.raises(ParameterError, match="open images: found 0; allowed: 1 or more"):
        plots.hardness_view([verdict(3, -1.0, -9.0, "attacked")])
    with pytest.raises(ParameterError, match=r"without attack margin or bound: found \[7\]"):
        plots.hardness_view([verdict(7, None)])
