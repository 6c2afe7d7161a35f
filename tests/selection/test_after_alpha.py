"""alpha-CROWN on open images of a selection: its bounds stay in the file, and a draw knows easy, middle and hard."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
from test_selected import verdict, write

from nbutils.benchmark.generation import LEVELS, Draw, draw_instances, facts, levels
from nbutils.bounds import margin_bounds
from nbutils.core import BoundsConfig, Box, ImageSet, Normalization, SelectionConfig, SelectionError, Verdict
from nbutils.selection import add_alpha_bounds, put_selection, read_selection, with_known_bounds, write_selected

HALF = Normalization((0.5, 0.5, 0.5), (0.25, 0.25, 0.25))
IMAGES = ImageSet(
    np.random.default_rng(3).integers(0, 256, (6, 3, 8, 8), dtype=np.uint8), np.arange(6) % 5, np.arange(6), "toy",
    tuple("vwxyz"), HALF,
)  # fmt: skip


def test_a_selection_without_bounds_is_the_file_it_was(tmp_path):
    path, selection = write(tmp_path)
    assert "alpha_bound" not in path.read_text()
    assert read_selection(path).alpha == {}
    assert selection.proved_by_alpha(selection.of("open")[0]) is None


def test_bounds_read_back(tmp_path):
    path, selection = write(tmp_path)
    (left,) = selection.of("open")
    put_selection(path, dataclasses.replace(selection, alpha={left.key: 0.015625}))
    lines = path.read_text().splitlines()
    assert lines[7].endswith(",hardness,alpha_bound")
    assert lines[9].endswith(",0.015625")
    assert lines[8].endswith(",")
    again = read_selection(path)
    assert again.alpha == {left.key: 0.015625}
    assert again.text() == path.read_text()
    assert again.proved_by_alpha(left)
    assert again.gap(left) == pytest.approx(0.1 - 0.015625, abs=1e-6)
    (best,) = (verdict for verdict in again.best if verdict.key == left.key)
    assert (best.bound, best.bound_method) == (0.015625, "alpha-crown")
    assert best.hardness == again.gap(left)
    assert [v for v in again.best if v.key != left.key] == [v for v in again.verdicts if v.key != left.key]
    worse = dataclasses.replace(again, alpha={left.key: left.bound - 1})
    assert worse.best == again.verdicts


@pytest.mark.parametrize("text", ["nan", "1e400", "0.50", "x", "inf"])
def test_other_cells_are_refused_by_line(tmp_path, text):
    path, selection = write(tmp_path)
    (left,) = selection.of("open")
    put_selection(path, dataclasses.replace(selection, alpha={left.key: 0.015625}))
    path.write_text(path.read_text().replace("0.015625", text))
    with pytest.raises(SelectionError, match=r"line 10.*a number or nothing in alpha_bound"):
        read_selection(path)


def test_only_open_images_have_one(tmp_path):
    path, selection = write(tmp_path)
    (left,) = selection.of("open")
    put_selection(path, dataclasses.replace(selection, alpha={left.key: 0.5}))
    lines = path.read_text().splitlines()
    lines[8] += "0.5"  # an attacked image
    path.write_text("\n".join(lines) + "\n")
    with pytest.raises(SelectionError, match=r"line 9.*of an open image"):
        read_selection(path)


def opened(network, tmp_path):
    """A selection in which four images of IMAGES are open."""
    config = SelectionConfig(eps=1 / 255)
    verdicts = [
        Verdict(IMAGES.ids[row], row, row % 5, row % 5, "open", "full attack", 1.0, 0.5, 1, 9, -0.5, "crown")
        for row in range(4)
    ]
    path = tmp_path / "toy.csv"
    write_selected(path, network, verdicts, config, HALF, "toy")
    return path


def test_bounds_are_those_of_the_method_and_a_second_run_adds_only_what_is_missing(tiny_resnet, tmp_path, monkeypatch):
    path = opened(tiny_resnet, tmp_path)
    two = add_alpha_bounds(path, tiny_resnet, [IMAGES], 2, progress=False)
    assert len(two.alpha) == 2
    for key, bound in two.alpha.items():
        row = IMAGES.keys.index(key)
        box = Box.around(IMAGES.pixels[[row]], HALF, 1 / 255)
        found = margin_bounds(tiny_resnet, box, IMAGES.labels[[row]], BoundsConfig(method="alpha-crown"))
        assert bound == pytest.approx(float(found.smallest[0]), abs=1e-6)
    asked = []
    import nbutils.selection.after_alpha as module

    monkeypatch.setattr(module, "margin_bounds", lambda *a, **k: asked.append(1) or margin_bounds(*a, **k))
    four = add_alpha_bounds(path, tiny_resnet, [IMAGES], 100, progress=False)
    assert len(asked) == 2
    assert two.alpha.items() <= four.alpha.items()
    assert read_selection(path).alpha == four.alpha


def recorded(count: int, proved: int):
    """A selection of `count` open images with growing gaps, the first `proved` of them proved by alpha-CROWN."""
    verdicts = [verdict(number, "open", 0.5, -0.1 * (number + 1)) for number in range(count)]
    return verdicts, {v.key: 0.2 if number < proved else -0.05 * (number + 1) for number, v in enumerate(verdicts)}


def test_levels_and_a_draw_in_equal_parts(tmp_path):
    verdicts, alpha = recorded(30, 8)
    _, selection = write(tmp_path, verdicts)
    selection = dataclasses.replace(selection, alpha=alpha)
    groups = levels(selection)
    assert [len(groups[level]) for level in LEVELS] == [8, 11, 11]
    assert max(selection.gap(v) for v in groups["middle"]) <= min(selection.gap(v) for v in groups["hard"])
    drawn = Draw(seed=4, mode="stratified").of(selection)
    assert len(drawn) == 24, "the number of a network that is none of the published"
    parts = [sum(v in groups[level] for v in drawn) for level in LEVELS]
    assert parts == [8, 8, 8]
    assert drawn == Draw(seed=4, mode="stratified").of(selection)
    assert drawn != Draw(seed=5, mode="stratified").of(selection)


def test_a_level_with_too_few_images_is_filled_from_the_others(tmp_path):
    verdicts, alpha = recorded(30, 2)
    _, selection = write(tmp_path, verdicts)
    selection = dataclasses.replace(selection, alpha=alpha)
    drawn = Draw(seed=0, mode="stratified").of(selection)
    assert len(drawn) == 24
    assert sum(selection.alpha[v.key] > 0 for v in drawn) == 2


def test_stratified_needs_bounds(tmp_path):
    _, selection = write(tmp_path)
    with pytest.raises(SelectionError, match=r"Run it: python -m nbutils alpha toy"):
        Draw(seed=0, mode="stratified").of(selection)


def test_the_manifest_says_the_level(tiny_resnet, tmp_path):
    path = opened(tiny_resnet, tmp_path)
    selection = add_alpha_bounds(path, tiny_resnet, [IMAGES], 4, progress=False)
    how = Draw(seed=0, mode="stratified")
    instances = draw_instances({"tiny_resnet": selection}, {"tiny_resnet": tiny_resnet.path}, [IMAGES], how)
    found = {instance.property.meta["level"] for instance in instances}
    assert found <= set(LEVELS)
    assert len(instances) == 4
    assert json.dumps(facts({"tiny_resnet": selection}, how)["draw"]) == '{"seed": 0, "mode": "stratified"}'


def test_a_selection_recorded_again_keeps_what_is_known(tmp_path):
    path, selection = write(tmp_path)
    (left,) = selection.of("open")
    put_selection(path, dataclasses.replace(selection, alpha={left.key: 0.25}))
    assert with_known_bounds(path, selection).alpha == {left.key: 0.25}
    other = dataclasses.replace(selection, settings={**selection.settings, "eps": 0.1})
    assert with_known_bounds(path, other).alpha == {}
    path.write_text("damaged")
    assert with_known_bounds(path, selection).alpha == {}
    assert with_known_bounds(tmp_path / "none.csv", selection) is selection
