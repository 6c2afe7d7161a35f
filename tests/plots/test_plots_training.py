"""Pictures of training: numbers, texts and what was drawn; `test_plots` looks at every scene as a whole."""

# ruff: noqa: RUF001 (texts of the pictures are compared with their own minus sign and dash)

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from render_training import SHOWN, made_boxes, made_fed, made_fusion, made_log, made_snapshots, made_steps

from nbutils import plots
from nbutils.core import ParameterError
from nbutils.plots import style
from nbutils.training import recipe


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.4183, "0.418"), (108.2, "108"), (4612.0, "4612"), (3.06e11, "3.1·10¹¹"), (2.9e-5, "2.9·10⁻⁵"), (0.0, "0"),
        (-6.3e6, "−6.3·10⁶"), (float("nan"), "–"),
    ],
)  # fmt: skip
def test_numbers_of_any_size(value, text):
    assert style.compact(value) == text


# --- curves


def test_curves_resolve_losses_accuracies_and_schedule():
    view = plots.curves_view(made_log())
    assert view.title.startswith("CIFAR100_resnet_small, 12 of 12 epochs: loss 1.1·10⁷ to 2.5")
    assert view.title.endswith("of the images set aside 33 % right under PGD")
    assert [look.label for look, _ in view.losses] == [
        "total, what is descended",
        "ordinary cross entropy",
        "certified",
    ]
    assert [look.label for look, _ in view.schedule] == [
        "certified weight / 0.15", "its box / (0.06 eps)", "learning rate / 0.06",
    ]  # fmt: skip
    weight, box, rate = (values for _, values in view.schedule)
    np.testing.assert_allclose(weight[[0, 3, -1]], [0.25, 1, 1])  # 4 epochs of ramp
    np.testing.assert_allclose(box[[0, 3]], [(0.06 / 0.002) ** 0.25 * 0.002 / 0.06, 1])
    np.testing.assert_allclose(rate[0], 1)
    assert view.logarithmic
    assert "set aside, under PGD from 0 to 33" in view.alt


def test_an_adversarial_run_has_no_certified_curve():
    view = plots.curves_view(made_log(12, recipe("adversarial", epochs=12), validation=False))
    assert [look.label for look, _ in view.losses] == ["total, what is descended", "ordinary cross entropy"]
    assert [look.label for look, _ in view.accuracies] == ["trained on, while training"]
    assert len(view.schedule) == 1
    assert not view.logarithmic


def test_the_certified_loss_is_not_drawn_before_it_counts():
    view = plots.curves_view(made_log(6, recipe("sabr", epochs=12, **SHOWN | {"certified_from": 2})))
    assert np.isnan(view.losses[2][1][:1]).all()
    assert np.isfinite(view.losses[2][1][2:]).all()


def test_a_run_without_an_epoch_shows_its_batches():
    log = made_log(0)
    view = plots.curves_view(log, made_steps(log))
    assert view.title == "CIFAR100_resnet_small, 0 of 12 epochs"
    assert "nothing yet" in view.alt
    figure = plots.figure_training(log, made_steps(log))
    thin = figure.axes[0].lines[0]
    np.testing.assert_allclose(thin.get_xdata(), [step.at for step in made_steps(log)])


def test_curves_are_drawn_over_the_whole_schedule():
    figure = plots.figure_training(made_log(3))
    top, middle, bottom = figure.axes
    assert bottom.get_xlim() == (0, 12)
    np.testing.assert_allclose(top.lines[0].get_ydata(), made_log(3).loss)
    np.testing.assert_allclose(middle.lines[1].get_ydata(), [0, 4, 8])
    assert top.get_yscale() == "log"
    assert plots.describe(figure) == plots.curves_view(made_log(3)).alt


# --- losses against the box


def test_boxes_resolve():
    view = plots.boxes_view(made_boxes())
    # widths 0.03 x 4^5 = 30.72 at the last ReLU of the whole box, 1/1000 of it in the smallest
    assert view.title == "Adversarial loss 1.5; bounded by intervals 1.53 at 0.001 eps, 32.2 at 1 eps (8 images)"
    assert [fraction for fraction, _ in view.widths] == [0.001, 0.06, 1.0]
    assert view.chance == pytest.approx(np.log(100))
    assert "CROWN-IBP 1.51 to 11.7" in view.alt
    assert "box 1: 0.03 to 30.7" in view.alt


def test_boxes_draw_levels_and_curves():
    ax = plots.draw_box_losses(made_boxes())
    assert (ax.get_xscale(), ax.get_yscale()) == ("log", "log")
    levels = [line.get_ydata()[0] for line in ax.lines[:3]]
    assert levels == pytest.approx([np.log(100), 1.2, 1.5])
    np.testing.assert_allclose(ax.lines[3].get_ydata(), made_boxes().certified["ibp"])
    assert [text.get_text() for text in ax.get_legend().get_texts()][-1] == "certified, CROWN-IBP"
    widening = plots.draw_widening(made_boxes())
    np.testing.assert_allclose(widening.lines[2].get_ydata(), made_boxes().widths[-1])


def test_fusion_resolves_value_and_time():
    view = plots.fusion_view(made_fusion())
    assert view.title == "One row an image instead of 100: 20 times faster, and a bound 1.01 to 2.00 times as high"
    assert view.milliseconds == pytest.approx((250, 12.5))
    bars = plots.figure_fusion(made_fusion()).axes[1].patches
    assert [bar.get_width() for bar in bars] == pytest.approx([250, 12.5])


# --- what is fed


def test_fed_states_attack_and_amplification():
    view = plots.fed_view(made_fed(), 3)
    assert view.title == "3 images of the first batch (embedded): crop-flip, then 1 attack step within 1.5/255"
    assert view.largest == pytest.approx(1.5, abs=1e-4)
    assert [text for text, _ in view.rows] == [
        "image",
        "augmented\n(crop-flip)",
        "adversarial\npoint",
        "difference\n× 85",
    ]
    difference = view.rows[3][1]
    assert set(np.unique(difference.round(3))) == {0.0, 1.0}  # every channel moved by the whole radius
    with pytest.raises(ParameterError, match="count: found 0"):
        plots.fed_view(made_fed(), 0)


def test_fed_draws_images_pixel_by_pixel():
    fed = made_fed(2)
    figure = plots.figure_fed(fed)
    pictures = [ax.images[0].get_array() for ax in figure.axes]
    np.testing.assert_array_equal(pictures[1], np.moveaxis(fed.images.levels[1], 0, -1))
    np.testing.assert_allclose(pictures[2], np.moveaxis(fed.pixels[0], 0, -1))


def test_an_unmoved_batch_can_be_drawn():
    fed = made_fed(2)
    still = replace(fed, points=fed.pixels)
    assert plots.fed_view(still).largest == 0
    FigureCanvasAgg(plots.figure_fed(still)).draw()


# --- what changed


def test_change_counts_right_and_proven():
    before, after, images = made_snapshots()
    view = plots.change_view(before, after, images, 3)
    # after: natural 9, 5.8, 2.6, -0.6, -3.8, -7; bounds 1.5 below
    assert view.title == "In boxes of 1/255: 0 then 3 of 6 images right, 0 then 3 proven by CROWN-IBP"
    np.testing.assert_allclose(view.unstable, [[0.5, 1, 1], [0.05, 0.1, 0.15]])
    assert view.limits[0] > -20, "a loose bound must not squeeze the others"
    assert "proven −4.0·10⁶ then +7.50" in view.alt


def test_change_draws_bars_from_bound_to_lowest_seen():
    before, after, images = made_snapshots()
    ax = plots.draw_change(before, after, images, 3)
    spans = [(bar.get_x(), bar.get_x() + bar.get_width()) for bar in ax.patches[1:]]
    np.testing.assert_allclose(spans[6], (7.5, 8.7), atol=1e-5)
    assert spans[0][0] == pytest.approx(ax.get_xlim()[0])
    texts = [text.get_text() for text in ax.texts]
    assert "◂ −4.0·10⁶" in texts
    assert "≥ +7.50" in texts
    assert [label.get_text()[-1] == "*" for label in ax.get_yticklabels()] == [False] * 3 + [True] * 3


def test_change_refuses_snapshots_of_other_things():
    before, after, images = made_snapshots()
    with pytest.raises(ParameterError, match="snapshots: eps: found 0.5; allowed: 0.0039"):
        plots.change_view(replace(before, eps=0.5), after, images, 3)
    with pytest.raises(ParameterError, match="snapshots: labels of the images"):
        plots.change_view(before, after, images.take([5, 4, 3, 2, 1, 0]), 3)
    with pytest.raises(ParameterError, match="snapshots: method: found 'ibp'"):
        plots.change_view(replace(before, bounds=replace(before.bounds, method="ibp")), after, images, 3)
