"""A session is validated state without widgets; widgets only edit it."""

from dataclasses import replace

import numpy as np
import pytest
from test_funnel import CONFIG, images  # noqa: F401  (fixture)

from nbutils.core import Box, ParameterError, class_margins
from nbutils.explore import Desk, Session, pick_rows


@pytest.fixture
def session(tiny_resnet, images):  # noqa: F811
    return Session(tiny_resnet, images, CONFIG)


@pytest.fixture
def settled(session):
    session.run_funnel(progress=False)
    return session


def opened(session):
    return [v.index for v in session.verdicts if v.status == "open"]


def test_rows_and_methods_are_checked(session):
    with pytest.raises(ParameterError, match="row: found 40; allowed: 0 to 39"):
        session.row = 40
    with pytest.raises(Exception, match="crown"):
        session.method = "crown-magic"
    assert session.row_of(103) == 3
    with pytest.raises(ParameterError, match="image index: found 3; allowed: one of 100, 101"):
        session.row_of(3)


def test_the_closest_call_is_correct_and_smallest(session):
    row = session.closest_call()
    correct = session.margins.predicted == session.images.labels
    assert correct[row]
    assert session.margins.smallest[row] == session.margins.smallest[correct].min()


def test_margins_are_those_of_the_centres_and_computed_once(session, monkeypatch):
    all_of = Box.around(session.images.pixels, session.normalization, CONFIG.eps)
    wanted = session.network.judge(all_of.center)
    judged = []
    real = type(session.network).judge
    monkeypatch.setattr(type(session.network), "judge", lambda self, x: judged.append(len(x)) or real(self, x))
    monkeypatch.setattr("nbutils.explore.session._ROWS", 7)
    np.testing.assert_array_equal(session.margins.values, class_margins(wanted, session.images.labels).values)
    other = session.at(replace(CONFIG, eps=CONFIG.eps / 2))
    assert other.margins is session.margins
    assert judged == [7, 7, 7, 7, 7, 5]
    one, same = session.box_of(3), all_of.take([3])
    for name in ("lower", "upper", "center"):
        np.testing.assert_array_equal(getattr(one, name), getattr(same, name))
    assert (other.box_of(3).lower > one.lower).any(), "its own radius"


def test_rows_for_the_radii_are_spread_over_the_margins(session):
    rows = pick_rows(session, 5)
    values = session.margins.smallest[rows]
    assert (np.diff(values) > 0).all()
    assert (session.margins.predicted[rows] == session.images.labels[rows]).all()
    assert rows[0] == session.closest_call()
    assert len(pick_rows(session, 1000)) == 35


def test_attack_and_bounds_are_computed_once(session):
    assert session.known_trace(1) is None
    trace, bounds = session.trace(1), session.bounds(1, "ibp")
    assert session.trace(1) is trace is session.known_trace(1)
    assert session.bounds(1, "ibp") is bounds
    session.bounds(1, "crown")
    assert [b.method for b in session.known_bounds(1)] == ["ibp", "crown"]
    assert trace.paths.shape == (1, 21, 5, 3, 8, 8)
    assert not np.isnan(trace.margins).any(), "whole trajectories: no early stop"


def test_equal_images_under_two_labels_are_two_images(tiny_resnet, images):  # noqa: F811
    label, other = int(images.labels[1]), (int(images.labels[1]) + 1) % len(images.class_names)
    twins = replace(images.take([1, 1]), labels=np.array([label, other]), indices=np.arange(2))
    session = Session(tiny_resnet, twins, CONFIG)
    desk = Desk.holding(session)
    for row in range(2):
        desk.row = row
        desk.curves[desk.place()] = session.radius_curve(row, (0.5, 1))
        assert session.trace(row).rivals[0].tolist() == session.margins.rivals[row].tolist()
        assert session.bounds(row, "ibp").rivals[0].tolist() == session.margins.rivals[row].tolist()
        assert [bounds.rivals.shape for bounds in session.known_bounds(row)] == [(1, len(images.class_names) - 1)]
    assert [curve.label for curve in desk.curves.values()] == [label, other]


def test_only_open_images_can_be_chosen(settled):
    first, second, *_ = opened(settled)
    settled.toggle(second)
    settled.toggle(first)
    assert settled.chosen == (first, second)
    settled.toggle(second)
    assert [i.property.meta["index"] for i in settled.chosen_instances(60)] == [first]
    broken = next(v.index for v in settled.verdicts if v.status == "attacked")
    with pytest.raises(ParameterError, match=f"chosen image {broken}: found attacked"):
        settled.toggle(broken)
    assert settled.chosen == (first,)


def test_a_draw_from_a_seed_repeats(settled):
    settled.choose(3, seed=4)
    drawn = settled.chosen
    settled.choose(3, seed=5)
    settled.choose(3, seed=4)
    assert settled.chosen == drawn
    assert len(drawn) == 3
    settled.run_funnel(progress=False)
    assert settled.chosen == (), "a new funnel drops the choice made on the old one"


def test_radius_curve_is_at_multiples_of_the_radius(session):
    curve = session.radius_curve(1, (0.5, 1.0))
    np.testing.assert_allclose(curve.eps, [3 / 255, 6 / 255])
    assert list(curve.lower) == ["crown"]


# ---- a desk around a session


def test_the_basket_is_the_choice_and_the_other_way(settled):
    desk = Desk.holding(settled)
    first, second, *_ = opened(settled)
    closed = next(v.index for v in settled.verdicts if v.status != "open")
    settled.chosen = (first,)
    assert desk.basket.indices == [first]
    for index in (second, closed):
        desk.choose(settled.row_of(index))
        desk.toggle()
    assert settled.chosen == (first, second), "only open images are chosen"
    assert desk.basket.indices == [first, second, closed]
    desk.choose(settled.row_of(first))
    desk.toggle()
    assert settled.chosen == (second,)


def test_what_the_session_knows_is_on_the_desk(settled):
    settled.row = 2
    trace = settled.trace()
    desk = Desk.holding(settled)
    assert desk.row == 2
    assert desk.trace() is trace
    assert {v.index: v.status for v in desk.settled().values()} == {v.index: v.status for v in settled.verdicts}
    assert desk.config == settled.config
