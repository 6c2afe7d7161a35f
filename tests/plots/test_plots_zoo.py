"""Pictures of the zoo: what is resolved, what is drawn, and that intervals are drawn where they are given."""

# ruff: noqa: RUF001 (texts of the pictures are compared with their own minus sign)

from __future__ import annotations

import pytest
import render_plots as made
from matplotlib.collections import LineCollection
from matplotlib.text import Text

from nbutils import plots
from nbutils.core import ParameterError
from nbutils.networks import Figure

SMALL = "CIFAR100_resnet_small"


def texts(ax):
    return [text.get_text() for text in ax.findobj(Text) if text.get_text()]


def intervals(ax):
    return [tuple(segment[:, 0]) for lines in ax.findobj(LineCollection) for segment in lines.get_segments()]


def markers(ax, marker):
    return [line.get_xdata()[0] for line in ax.get_lines() if line.get_marker() == marker]


def test_rows_of_one_measured_network_and_four_that_are_not_trained():
    view = plots.zoo_view(made.ZOO_ONE)
    assert view.title == f"{SMALL}: clean −14.71, PGD −7.51, CROWN +0.89 points from the published"
    (name, rows), *others = view.groups
    assert name == SMALL
    assert [row.label for row in rows] == ["clean", "PGD", "CROWN"]
    assert [row.note for row in rows] == ["−14.71 points", "−7.51 points", "+0.89 points"]
    assert (rows[0].card.value, rows[0].published) == (36.9, 51.61)
    assert rows[0].card.low < 36.9 < rows[0].card.high
    assert {row.note for _, group in others for row in group} == {"not trained yet"}
    assert all(row.card is None for _, group in others for row in group)
    assert "measured 36.90 % (95 % interval 36.0 to 37.9), published 51.61 %; −14.71 points" in view.alt


def test_marks_and_intervals_are_drawn_where_they_are_given():
    ax = plots.draw_zoo(made.ZOO_ONE)
    figures = made.ZOO_ONE[0].file.figures
    assert markers(ax, "o") == [f.value for f in figures.values()]
    assert len(markers(ax, "D")) == 15
    assert intervals(ax) == [pytest.approx((f.low, f.high)) for f in figures.values()]
    assert texts(ax).count("not trained yet") == 4  # once a network
    bare = made.made_entry(SMALL, (3690, 3041, 2103))
    for name, f in bare.file.figures.items():
        bare.file.figures[name] = Figure(f.value, f.unit, f.measured_on, f.source, eps=f.eps)
    ax = plots.draw_zoo([bare])
    assert len(markers(ax, "o")) == 3
    assert intervals(ax) == []
    assert "95 % interval" not in " ".join(texts(ax))


def test_foreign_networks_and_other_radii_are_not_compared():
    view = plots.zoo_view(made.ZOO_FOREIGN)
    groups = dict(view.groups)
    assert [row.label for row in groups["mnist_conv"]] == ["clean", "PGD (at 25.5/255)", "CROWN (at 25.5/255)"]
    assert {row.note for row in groups["mnist_conv"]} == {"none published"}
    assert [(row.published, row.note) for row in groups[SMALL]] == [
        (51.61, "−1.61 points"),
        (None, "other settings"),
        (None, "other settings"),
    ]
    assert [row.note for row in view.groups[2][1]] == ["none published", "none published", "not measured"]
    assert plots.zoo_view(made.ZOO_FOREIGN[:1]).title == "1 network, 1 measured, none beside a published counterpart"


def test_five_networks_are_summed_up_in_the_title():
    view = plots.zoo_view(made.ZOO_FIVE)
    assert view.title == "5 networks beside the published: clean −3.85 to +1.06, PGD −2.84 to +0.60, " + (
        "CROWN −1.53 to +2.26 points"
    )


def test_a_sample_stands_beside_the_card():
    sample = {SMALL: made.made_figures(SMALL, (10, 10, 0), 20)}
    view = plots.zoo_view(made.ZOO_ONE, sample=sample)
    ((name, rows),) = view.groups  # networks that were not sampled are left out
    assert name == SMALL
    # 10 of 20: 29.9 to 70.1; 0 of 20: 0 to 16.1; the card has 36.9, 30.41, 21.03
    assert [row.note for row in rows] == ["card inside interval", "card inside interval", "card outside interval"]
    assert all(row.published is None for row in rows)
    assert view.title == "20 images measured here: 1 network, 95 % intervals"
    ax = plots.draw_zoo(made.ZOO_ONE, sample=sample)
    assert markers(ax, "s") == [50.0, 50.0, 0.0]
    assert len(intervals(ax)) == 6
    other = {SMALL: made.made_figures(SMALL, (10, 10, 0), 20, eps=3 / 255)}
    notes = [row.note for row in plots.zoo_view(made.ZOO_ONE, sample=other).groups[0][1]]
    assert notes == ["card inside interval", "card: other settings", "card: other settings"]
    with pytest.raises(ParameterError, match="entries: found 0; allowed: 1 network or more"):
        plots.zoo_view(made.ZOO_ONE, sample={})


def test_pools_are_what_lies_between_attack_and_proof():
    view = plots.pools_view(made.ZOO_ONE)
    assert [(bar.network, bar.whose) for bar in view.bars[:2]] == [(SMALL, "measured"), (SMALL, "published")]
    assert view.bars[0].shares == pytest.approx((21.03, 30.41 - 21.03, 36.90 - 30.41, 63.10))
    assert all(sum(bar.shares) == pytest.approx(100) for bar in view.bars)
    assert view.title == "Open between attack and proof: 9.4 % measured, 8.3 to 17.8 % published"
    assert "published: verified 20.1 %, open 17.8 %, attacked 13.7 %, misclassified 48.4 %" in view.alt
    ax = plots.draw_pools(made.ZOO_ONE)
    assert len(ax.patches) == 4 * 6
    assert ax.get_xlim() == (0, 100)


def test_pools_need_three_figures_of_the_same_images():
    views = [plots.pools_view([entry]).bars for entry in made.ZOO_FOREIGN]
    assert [[bar.whose for bar in bars] for bars in views] == [
        ["measured at 25.5/255"],
        ["measured at 3/255", "published"],
        [],
    ]
    mixed = made.made_entry("net", (60, 50, 40), n=100)
    mixed.file.figures["clean accuracy"] = made.made_figures("net", (6000,), 10_000)["clean accuracy"]
    assert plots.pools_view([mixed]).bars == ()
    with pytest.raises(ParameterError, match="entries: found .'net'.; allowed: networks with clean, PGD and CROWN"):
        plots.draw_pools([mixed])


def test_pictures_go_into_the_axes_they_are_given():
    for draw in (plots.draw_zoo, plots.draw_pools):
        figure, ax = plots.new_figure(9, 4)
        assert draw(made.ZOO_ONE, ax=ax) is ax
        assert plots.describe(figure) == plots.describe(ax) != ""
