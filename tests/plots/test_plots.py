"""Pictures: resolved numbers and texts first, then what was drawn, then what every picture must keep to."""

# ruff: noqa: RUF001 (texts of the pictures are compared with their own minus sign and dash)

from __future__ import annotations

import gc
import weakref
from dataclasses import replace

import numpy as np
import pytest
import render_plots as made
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text

from nbutils import plots
from nbutils.analysis import RadiusCurve
from nbutils.core import (
    STATUSES,
    AttackTrace,
    ImageError,
    LayerBounds,
    MarginBounds,
    ParameterError,
    Verdict,
    class_margins,
)
from nbutils.images import load_images
from nbutils.plots import style

SCENES = made.made()
LABELS = np.array([0])
# Rivals 1, 2, 3 of label 0 with margins 2, 0.5, 1.
MARGINS = class_margins(np.float32([[2, 0, 1.5, 1]]), LABELS)


@pytest.fixture(scope="module")
def images():
    return load_images("embedded").take(range(8))


@pytest.fixture(scope="module")
def verdicts(images):
    return made.made_verdicts(images, made.made_margins(images.labels, 100))


def a_trace(margins, values=(1.0, 0.2, 0.9)):
    """One image; `margins` [S+1, R]."""
    margins = np.float32(margins)[None]
    values = np.float32([values])
    point = np.zeros((1, 1, 1, 2), np.float32)
    return AttackTrace(
        margins, margins, point, values, MARGINS.rivals, values.min(axis=1) <= 0, np.array([1]), np.ones(1)
    )


def some_bounds(method="crown", lower=(0.5, -0.5, 0.7), layers=()):
    return MarginBounds(method, np.float32([lower]), MARGINS.rivals, LABELS, np.ones(1), 1e-4, layers)


def a_curve(attack=(0.5, 0.2, -0.1), lower=(0.4, -0.1, 0.2), natural=1.0, method="crown"):
    lower = {method: np.float32(lower)} if method else {}
    return RadiusCurve(np.array([1, 2, 3]) / 255, natural, np.float32(attack), lower)


# --- wording ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.834, "+0.83"), (-12.44, "−12.4"), (-213.4, "−213"), (None, "–"), (float("nan"), "–"), (-2.5e7, "−2.5e+07")],
)
def test_signed(value, text):
    assert style.signed(value) == text


def test_fit_breaks_and_shortens():
    assert style.fit("sweet pepper", 14) == "sweet pepper"
    assert style.fit("black-and-white colobus monkey", 14, 2) == "black-and-\nwhite colobus…"
    assert style.fit("antidisestablishmentarianism", 10) == "antidises…"
    assert max(map(len, style.fit("sulphur-crested cockatoo of the east", 12, 2).split("\n"))) <= 12


def test_counts_and_radii_in_words():
    assert style.plural(1, "image") == "1 image"
    assert style.plural(10_000, "image") == "10\u202f000 images"
    assert style.radius_text(3 / 255) == "3/255"
    assert style.percent(1, 3) == "33 %"
    assert style.percent(2014, 10_000) == "20.1 %"


def test_statuses_differ_without_colour():
    def grey(color):
        red, green, blue = (int(color[i : i + 2], 16) for i in (1, 3, 5))
        return 0.299 * red + 0.587 * green + 0.114 * blue

    marks = [style.STATUS[status] for status in STATUSES]
    for field in ("glyph", "marker", "hatch"):
        assert len({getattr(mark, field) for mark in marks}) == len(STATUSES)
    shades = sorted(grey(mark.color) for mark in marks)
    assert min(np.diff(shades)) > 10
    lines = [grey(stroke.color) for stroke in style.METHOD.values()]
    assert min(-np.diff(lines)) > 25, "bars have to darken from loose to tight"


@pytest.mark.parametrize("methods", [["crown", "ibb"], ["crown", "crown"]])
def test_methods_are_known_and_once(methods):
    with pytest.raises(ParameterError, match=r"^method.*found.*(ibb|crown).*allowed"):
        style.method_order(methods)


# --- grid and card ---------------------------------------------------------------------------------------------------


def test_grid_resolves_texts(images, verdicts):
    view = plots.grid_view(images, verdicts)
    assert (view.columns, view.rows) == (8, 1)
    assert view.title == "8 images (embedded): 2 misclassified, 2 attacked, 2 verified, 2 open"
    assert plots.grid_view(images, verdicts, name="net").title == f"net: {view.title}"
    assert view.tiles[1].caption == "→ correct\n+1.50"
    assert view.tiles[0].caption.startswith("→ ")
    assert view.tiles[0].caption.endswith("−1.50")
    assert [tile.status for tile in view.tiles] == list(STATUSES) * 2
    assert images.name_of(int(images.labels[0])) in view.alt
    assert "misclassified" in view.alt


def test_grid_of_twenty_is_two_by_ten():
    view = plots.grid_view(load_images("embedded"))
    assert (view.columns, view.rows) == (10, 2)
    assert view.key == ""


def test_grid_of_a_test_set_draws_some_and_counts_all():
    rng = np.random.default_rng(0)
    levels = rng.integers(0, 256, (1200, 3, 4, 4), dtype=np.uint8)
    images = replace(load_images("embedded"), levels=levels, labels=np.arange(1200) % 100, indices=np.arange(1200))
    statuses = ["verified"] * 1000 + ["open"] * 200
    verdicts = [
        Verdict(image_id, row, row % 100, row % 100, status, "crown", 1.0)
        for row, (image_id, status) in enumerate(zip(images.ids, statuses, strict=True))
    ]
    view = plots.grid_view(images, verdicts)
    assert (len(view.tiles), view.columns, view.rows) == (100, 10, 10)
    assert view.shown[:3] == (0, 12, 24)
    assert view.shown[-1] == 1188
    assert view.title.endswith(": 1000 verified, 200 open")
    assert view.key.endswith("100 of 1\u202f200 drawn, at even distances")
    drawn = [ax.images[0].get_array() for ax in plots.figure_grid(images, verdicts).axes if ax.images]
    assert len(drawn) == 100
    np.testing.assert_array_equal(drawn[1], np.moveaxis(levels[12], 0, -1))
    assert plots.grid_view(images.take(range(100))).shown == tuple(range(100))


def test_grid_finds_verdicts_by_id_and_refuses_gaps(images, verdicts):
    assert plots.grid_view(images, verdicts[::-1]) == plots.grid_view(images, verdicts)
    with pytest.raises(ParameterError, match=r"without a verdict: found '3'"):
        plots.grid_view(images, verdicts[:3] + verdicts[4:])


def test_equal_pixels_with_two_labels_keep_their_own_verdicts(images, verdicts):
    twins = images.take([2, 2])
    twins = replace(twins, labels=np.array([verdicts[2].label, 7]))
    other = replace(verdicts[2], label=7, status="open")
    assert [tile.status for tile in plots.grid_view(twins, [other, verdicts[2]]).tiles] == ["verified", "open"]
    assert plots.funnel_view([other, verdicts[2]], twins).left[0][0] == twins.name_of(7)
    with pytest.raises(ParameterError, match=r"verdict: image and label"):
        plots.card_view(twins, 0, verdict=other)


def test_grid_refuses_bad_margins_and_columns(images):
    with pytest.raises(ParameterError, match=r"margins: found 1; allowed: one row for each of 8 images"):
        plots.grid_view(images, margins=MARGINS)
    with pytest.raises(ParameterError, match=r"columns: found 0"):
        plots.grid_view(images, columns=0)
    with pytest.raises(ParameterError, match=r"images: found 0"):
        plots.grid_view(images.take([]))


def test_images_are_drawn_pixel_by_pixel(images, verdicts):
    drawn = [ax.images[0] for ax in plots.figure_grid(images, verdicts).axes if ax.images]
    assert len(drawn) == 8
    for row, picture in enumerate(drawn):
        assert picture.get_interpolation() == "nearest"
        np.testing.assert_array_equal(picture.get_array(), np.moveaxis(images.levels[row], 0, -1))


def test_card_states_the_scale_of_the_change(images, verdicts):
    view = plots.card_view(images, 1, verdict=verdicts[1])
    assert view.scale == pytest.approx(3, abs=1e-3)
    assert view.amplification == pytest.approx(42.5, abs=0.1)
    assert view.twin_title == "adversarial image"
    assert ("margin", "+1.50 logits") in view.facts
    assert "the largest change of a channel is 3/255" in view.alt
    assert plots.card_view(images, 3, verdict=verdicts[3]).twin_title == "strongest attack point"


def test_card_of_an_unmoved_point(images):
    centre = images.normalization.to_network(images.pixels[2])
    view = plots.card_view(images, 2, point=centre)
    assert view.scale < 1e-3
    FigureCanvasAgg(plots.figure_card(images, 2, point=centre)).draw()


def test_card_refuses_strangers(images, verdicts):
    with pytest.raises(ParameterError, match=r"verdict: image and label: found .*as row 2 of the images"):
        plots.card_view(images, 2, verdict=verdicts[1])
    with pytest.raises(ParameterError, match=r"row: found 8; allowed: a whole number from 0 to 7"):
        plots.card_view(images, 8)
    with pytest.raises(ImageError, match=r"adversarial point: found \(3, 8, 8\)"):
        plots.card_view(images, 2, point=np.zeros((3, 8, 8), np.float32))


# --- margins and ladder ----------------------------------------------------------------------------------------------


def test_ladder_states_and_order():
    # rival 2: bound -0.5, seen 0.2: open. rival 3: bound 0.7: proven. rival 1: bound 0.5: proven.
    view = plots.ladder_view(MARGINS, a_trace([[0.5]]), [some_bounds()], class_names=["a", "b", "sweet_pepper", "d"])
    assert [(r.rival, r.state) for r in view.rungs] == [(2, "open"), (3, "proven"), (1, "proven")]
    assert [r.seen for r in view.rungs] == pytest.approx([0.2, 0.9, 1.0])
    assert view.title == "a: 1 of 3 rivals open, neither broken nor proven"
    assert "sweet pepper: natural +0.50, attacked +0.20, CROWN at least −0.50 (open)" in view.alt


def test_ladder_broken_beats_proven_and_bound_at_tolerance_is_open():
    trace = a_trace([[0.5]], values=(1.0, 0.0, 0.9))
    view = plots.ladder_view(MARGINS, trace, [some_bounds(lower=(1e-4, -1, 0.7))])
    assert [(r.rival, r.state) for r in view.rungs] == [(2, "broken"), (3, "proven"), (1, "open")]
    assert view.title == "class 0: class 2 comes level or ahead, +0.00 logits"


def test_ladder_orders_methods_and_sums_up_the_rest():
    bounds = [some_bounds("crown", (0.5, 0.1, 0.7)), some_bounds("ibp", (-90, -80, -70))]
    view = plots.ladder_view(MARGINS, None, bounds, top=1)
    assert view.methods == ("ibp", "crown")
    assert view.rungs[0].lower == pytest.approx((-80, 0.1))
    assert view.note == "2 further rivals from +1.00 up: 2 proven"
    assert view.title == "class 0: proven ahead of all 3 rivals everywhere in the box"
    assert -2 < view.limits[0] < 0, "a loose bound must not squeeze the others"


def test_margins_stay_readable_where_every_bound_is_far_below():
    """Intervals alone prove nothing of a network trained for accuracy: thousands of logits below."""
    view = plots.ladder_view(MARGINS, None, [some_bounds("ibp", (-9e4, -8e4, -7e4))])
    assert view.rungs[0].lower == pytest.approx((-8e4,))
    low, high = view.limits
    most = max(rung.natural for rung in view.rungs)
    assert -6 * most < low < -4 * most, "cut, yet told in `lower` and in the picture's words"
    assert most / (high - low) > 1 / 7
    near = plots.ladder_view(MARGINS, None, [some_bounds("crown", (-3 * most,) * 3)])
    assert near.limits[0] < -3 * most, "what is near is inside"


def test_a_record_of_one_image_counts_for_any_row():
    three = class_margins(np.float32([[2, 0, 1.5, 1]] * 3), np.array([1, 0, 1]))
    view = plots.ladder_view(three, a_trace([[0.5]]), [some_bounds()], row=1)
    assert view.rungs[0].attacked == pytest.approx(0.2)
    with pytest.raises(ParameterError, match=r"trace: rivals of image 0: found 'other rivals"):
        plots.ladder_view(three, a_trace([[0.5]]), row=0)
    with pytest.raises(ParameterError, match=r"crown: rivals of image 2: found 'other rivals"):
        plots.ladder_view(three, None, [some_bounds()], row=2)
    with pytest.raises(ParameterError, match=r"top: found 0"):
        plots.ladder_view(three, top=0)


def test_ladder_draws_bars_from_bound_to_lowest_seen():
    ax = plots.draw_ladder(MARGINS, a_trace([[0.5]]), [some_bounds()])
    spans = sorted((bar.get_x(), bar.get_x() + bar.get_width()) for bar in ax.patches[1:])
    np.testing.assert_allclose(spans, [(-0.5, 0.2), (0.5, 1.0), (0.7, 0.9)], rtol=1e-6)
    words = {text.get_text() for text in ax.texts}
    assert {"? open", "✓ proven"} <= words


def test_margins_drawn_from_the_strongest_rival_down():
    ax = plots.draw_margins(MARGINS, 0, top=2)
    assert [label.get_text() for label in ax.get_yticklabels()] == ["class 2", "class 3"]
    assert ax.get_ylim()[0] > ax.get_ylim()[1]
    assert "+0.50" in {text.get_text() for text in ax.texts}
    assert plots.describe(ax).startswith("class 0 leads every rival; closest is class 2 at +0.50.")


# --- trajectories and slice ------------------------------------------------------------------------------------------


def test_trajectories_find_crossings_and_lowest_so_far():
    view = plots.trajectory_view(a_trace([[1, 1.2], [0.4, 0], [0.5, -0.2]]))
    assert view.crossed.tolist() == [-1, 1]
    np.testing.assert_allclose(view.best, [1, 0, -0.2])
    assert view.title == "1 of 2 restarts crosses zero, the first at step 1"


def test_trajectories_end_where_the_attack_stopped():
    gone = float("nan")
    view = plots.trajectory_view(a_trace([[1, 1.2], [0.4, -0.1], [gone, gone], [gone, gone]]))
    assert view.last == 1
    assert len(view.best) == 2
    assert view.title == "A restart of 2 crosses zero at step 1, and the attack stops there"
    assert "1 step:" in view.alt
    assert "nan" not in view.alt


def test_trajectories_of_a_second_stage_that_never_ran():
    gone = float("nan")
    view = plots.trajectory_view(a_trace([[1, gone], [-0.4, gone], [-0.4, gone]]))
    assert view.crossed.tolist() == [1]
    assert "nan" not in view.alt


@pytest.mark.parametrize(
    ("margins", "title"),
    [
        ([[1.0], [0.3]], "The one restart does not cross zero; the lowest margin is +0.30 logits"),
        ([[1.0, 2.0]], "None of 2 restarts crosses zero; the lowest margin is +1.00 logits"),
        ([[-0.1, 2.0]], "1 of 2 restarts crosses zero, the first already at its random start"),
        ([[-0.1, -2.0]], "All 2 restarts cross zero, the first already at its random start"),
    ],
)
def test_trajectory_titles(margins, title):
    assert plots.trajectory_view(a_trace(margins)).title == title


def test_trajectories_refuse_what_is_not_there():
    with pytest.raises(ParameterError, match=r"row: found 1; allowed: a whole number from 0 to 0"):
        plots.trajectory_view(a_trace([[1.0]]), 1)
    with pytest.raises(ParameterError, match=r"margins at step 0: found 'NaN"):
        plots.trajectory_view(a_trace([[float("nan")], [1.0]]))


def test_slice_view_counts_ends_beyond_zero():
    record = made.made_slice()
    view = plots.slice_view(record)
    assert view.zero
    assert 0.0 in view.levels
    assert (view.levels[0] <= record.margins.min()) & (view.levels[-1] >= record.margins.max())
    assert view.title == f"{int((record.path_margins[-1] <= 0).sum())} of 12 paths end beyond the zero line"
    assert plots.slice_view(made.made_slice(2.0)).title == "The true class leads all over this plane"
    assert plots.slice_view(made.made_slice(-9.0)).title == "12 of 12 paths end beyond the zero line"


def test_slice_ends_before_an_early_stop():
    record = made.made_slice()
    paths, margins = record.paths.copy(), record.path_margins.copy()
    paths[7:], margins[7:] = np.nan, np.nan
    view = plots.slice_view(replace(record, paths=paths, path_margins=margins))
    np.testing.assert_array_equal(view.ends, record.paths[6])
    np.testing.assert_array_equal(view.end_margins, record.path_margins[6])


def test_flat_slice_is_drawn():
    record = made.made_slice()
    flat = replace(record, margins=np.full_like(record.margins, 0.5))
    FigureCanvasAgg(plots.draw_slice(flat).figure).draw()


# --- radius ----------------------------------------------------------------------------------------------------------


def test_radius_titles():
    assert plots.radius_view(a_curve()).title == "class 0: proven to 1/255, broken from 3/255, open between"
    never = plots.radius_view(a_curve(attack=(0.5, 0.4, 0.3)))
    assert never.title == "class 0: proven to 1/255, never broken up to 3/255"
    assert plots.radius_view(a_curve(natural=-0.2)).title == "class 0: misclassified, so no radius is certified"
    view = plots.radius_view(a_curve(lower=(0.4, 0.3, 0.2), attack=(0.5, -0.1, -0.3)))
    assert view.title.endswith("a contradiction")


def test_radius_curves_start_in_the_natural_margin():
    view = plots.radius_view(a_curve())
    np.testing.assert_allclose(view.radii, [0, 1, 2, 3])
    assert view.attack[0] == view.lower["crown"][0] == 1.0
    assert "certified up to 1/255, counterexample at 3/255" in view.alt


def test_radii_are_sorted_and_summed_up():
    curves = [a_curve(), a_curve(lower=(0.4, 0.3, 0.2), attack=(1, 1, 1)), a_curve(natural=-1.0, lower=(-2, -3, -4))]
    view = plots.radii_view(curves)
    assert [bar.certified for bar in view.bars] == pytest.approx([3, 1, 0])
    assert view.bars[0].attacked == np.inf
    assert view.title == "3 images: median proven radius 1/255, median open interval 0/255"
    with pytest.raises(ParameterError, match=r"curves: found 0"):
        plots.radii_view([])


def test_radius_without_a_method():
    ax = plots.draw_radius(a_curve(method=None))
    assert "proven to 0/255" in plots.describe(ax)


# --- layers and funnel -----------------------------------------------------------------------------------------------


def two_layers(width):
    return tuple(LayerBounds(f"relu{k}", 10, np.array([width * 10**k]), np.array([0.1 + k / 10])) for k in (0, 1))


def test_layers_compare_loose_with_tight():
    view = plots.layers_view([some_bounds("crown", layers=two_layers(1)), some_bounds("ibp", layers=two_layers(20))], 0)
    assert list(view.width) == ["ibp", "crown"]
    assert view.title == "In the last layer IBP is 20 times as wide as CROWN (one image)"
    np.testing.assert_allclose(view.unstable["crown"], [0.1, 0.2])
    figure = plots.figure_layers([some_bounds("crown", layers=two_layers(1))])
    assert figure.axes[0].get_yscale() == "log"


def test_layers_refuse_bounds_without_them():
    with pytest.raises(ParameterError, match=r"crown: layers: found 0.*layers=True"):
        plots.layers_view([some_bounds()])
    with pytest.raises(ParameterError, match=r"bounds: found 0"):
        plots.layers_view([])
    with pytest.raises(ParameterError, match=r"ibp: layers: found \[10\]; allowed: the same layers"):
        plots.layers_view([some_bounds(layers=two_layers(1)), some_bounds("ibp", layers=two_layers(1)[:1])])
    with pytest.raises(ParameterError, match=r"row: found 1"):
        plots.layers_view([some_bounds(layers=two_layers(1))], 1)


def test_funnel_adds_up(images, verdicts):
    view = plots.funnel_view(verdicts, images, thumbnails=1)
    assert [(stage.entered, stage.taken) for stage in view.stages] == [(8, 2), (6, 2), (4, 2), (2, 2)]
    assert view.stages[0].text == "2 images, 25 %"
    assert view.stages[1].split == "2 by pgd-10x4"
    assert view.title == "2 of 8 images are left open"
    assert len(view.left) == 1
    assert view.note == "1 further open image not shown."
    assert view.note in view.alt


def test_funnel_without_open_images_has_no_thumbnails(images, verdicts):
    settled = [verdict for verdict in verdicts if verdict.status != "open"]
    view = plots.funnel_view(settled, images)
    assert view.title == "None of 6 images is left open"
    assert view.left == ()
    assert len(plots.figure_funnel(settled, images).axes) == 1


def test_funnel_refuses_missing_images(images, verdicts):
    with pytest.raises(ParameterError, match=r"open images that are not among them: found \[3, 7\]"):
        plots.funnel_view(verdicts, images.take([0, 1]))
    with pytest.raises(ParameterError, match=r"verdicts: found 0"):
        plots.funnel_view([])
    with pytest.raises(ParameterError, match=r"thumbnails: found -1"):
        plots.funnel_view(verdicts, images, thumbnails=-1)


# --- what every picture keeps to -------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SCENES)
def test_every_picture_is_whole_and_described(name, monkeypatch):
    drawn = SCENES[name]()
    figure = drawn if isinstance(drawn, Figure) else drawn.get_figure(root=True)
    assert len(plots.describe(drawn)) > 40
    assert "nan" not in plots.describe(drawn).lower().split()
    written: list[Text] = []
    draw = Text.draw
    monkeypatch.setattr(Text, "draw", lambda self, *args, **kwargs: (written.append(self), draw(self, *args, **kwargs)))
    FigureCanvasAgg(figure).draw()
    whole = figure.bbox.padded(1)
    boxes = [
        (text.get_text(), text.get_window_extent())
        for text in written
        if text.get_visible() and text.get_text().strip()
    ]
    for k, (text, box) in enumerate(boxes):
        inside = whole.x0 <= box.x0 and box.x1 <= whole.x1 and whole.y0 <= box.y0 and box.y1 <= whole.y1
        assert inside, f"{text!r} is cut: {box} is not within {whole}"
        for other, there in boxes[k + 1 :]:
            assert not box.padded(-1).overlaps(there.padded(-1)), f"{text!r} and {other!r} overlap"


def test_no_figure_is_kept(images, verdicts):
    import matplotlib.pyplot as plt

    figure = plots.figure_grid(images, verdicts)
    axes = plots.draw_margins(MARGINS, 0)
    assert plt.get_fignums() == []
    figures = weakref.ref(figure), weakref.ref(axes.figure)
    del figure, axes
    gc.collect()
    assert [ref() for ref in figures] == [None, None]


def test_draw_functions_use_the_axes_they_are_given():
    figure, ax = plots.new_figure(9, 4)
    assert plots.draw_trajectories(a_trace([[1.0], [0.5]]), ax=ax) is ax
    assert plots.describe(figure) == plots.describe(ax) != ""
    assert plots.describe(Figure()) == ""


def test_the_same_records_give_the_same_picture():
    canvas, other = (FigureCanvasAgg(SCENES["ladder"]().get_figure(root=True)) for _ in range(2))
    canvas.draw()
    other.draw()
    np.testing.assert_array_equal(np.asarray(canvas.buffer_rgba()), np.asarray(other.buffer_rgba()))


def test_render_writes_every_scene(tmp_path):
    picked = {name: SCENES[name] for name in ("grid_one", "margins")}
    assert [path.name for path in made.render(picked, tmp_path, grey=True)] == ["grid_one.png", "margins.png"]
    assert (tmp_path / "margins.grey.png").stat().st_size > 1000
