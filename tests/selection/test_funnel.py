"""The funnel gives the statuses of the plain order, whatever the order, grouping or interruption."""

from dataclasses import replace

import numpy as np
import pytest
import toys
from onnx import helper

from nbutils.attacks import run_attack
from nbutils.bench import bench_funnel
from nbutils.bench.funnel_cost import FunnelBench
from nbutils.bounds import margin_bounds
from nbutils.core import (
    STATUSES,
    AttackConfig,
    BoundsConfig,
    BoundsError,
    Box,
    ImageSet,
    MarginBounds,
    NetworkError,
    Normalization,
    SelectionConfig,
    Verdict,
    class_margins,
)
from nbutils.networks import open_network
from nbutils.selection import Ledger, count_statuses, decide, deciding, funnel, run_funnel, run_key
from nbutils.selection.deciding import refuse_unsound

NORMALIZATION = Normalization((0.5, 0.5, 0.5), (0.25, 0.25, 0.25))
CONFIG = SelectionConfig(eps=6 / 255, attack=AttackConfig(steps=20, restarts=5), bounds=BoundsConfig(method="crown"))


@pytest.fixture(scope="module")
def images(tiny_resnet):
    """40 random images; labels are the network's answers, every eighth one wrong on purpose."""
    levels = np.random.default_rng(5).integers(0, 256, (40, 3, 8, 8), dtype=np.uint8)
    plain = ImageSet(levels, np.zeros(40, np.int64), np.arange(100, 140), "random", tuple("abcde"), NORMALIZATION)
    labels = tiny_resnet.judge(NORMALIZATION.to_network(plain.pixels)).argmax(axis=1)
    labels[::8] = (labels[::8] + 1) % 5
    return ImageSet(levels, labels, plain.indices, "random", plain.class_names, NORMALIZATION)


@pytest.fixture(scope="module")
def verdicts(tiny_resnet, images):
    return run_funnel(tiny_resnet, images, CONFIG, progress=False)


def bare(verdicts):
    """Everything of a verdict but its seconds, points included."""
    return [(replace(v, seconds=0.0), None if v.point is None else v.point.tobytes()) for v in verdicts]


def plain_order(network, images, config):
    """Full attack on every correct image, then bounds on every survivor: the definition of the statuses."""
    box = Box.around(images.pixels, images.normalization, config.eps)
    natural = class_margins(network.judge(box.center), images.labels)
    trace = run_attack(network, box, images.labels, images.ids, config.attack)
    bounds = margin_bounds(network, box, images.labels, config.bounds)
    wrong = natural.predicted != images.labels
    return np.select([wrong, trace.success, bounds.verified], STATUSES[:3], "open").tolist()


def test_statuses_are_those_of_the_plain_order(tiny_resnet, images, verdicts):
    counts = count_statuses(verdicts)
    assert all(counts.values()), f"precondition: every status occurs, found {counts}"
    assert [v.status for v in verdicts] == plain_order(tiny_resnet, images, CONFIG)


def test_every_number_is_what_its_name_says(tiny_resnet, images, verdicts):
    box = Box.around(images.pixels, NORMALIZATION, CONFIG.eps)
    natural = class_margins(tiny_resnet.judge(box.center), images.labels)
    for row, verdict in enumerate(verdicts):
        assert (verdict.index, verdict.image_id) == (100 + row, images.ids[row])
        assert verdict.natural_margin == natural.smallest[row]
        assert verdict.predicted == natural.predicted[row]
        if verdict.status == "misclassified":
            assert verdict.attack_margin is verdict.bound is verdict.point is None
            continue
        point = verdict.point[None]
        assert box.take([row]).contains(point)
        again = class_margins(tiny_resnet.judge(point), images.labels[[row]])
        assert verdict.attack_margin == again.smallest[0]
        assert verdict.attack_rival == again.rivals[0, again.values[0].argmin()]
        assert (verdict.attack_margin <= 0) == (verdict.status == "attacked")
        assert (verdict.bound is not None and verdict.bound > 1e-4) == (verdict.status == "verified")
        if verdict.status == "open":
            assert verdict.hardness == pytest.approx(verdict.attack_margin - verdict.bound)
            assert verdict.attack_steps == 20 + 10, "quick and full attack"


def test_order_and_company_of_images_change_nothing(tiny_resnet, images, verdicts):
    order = np.random.default_rng(1).permutation(40)
    shuffled = run_funnel(tiny_resnet, images.take(order), CONFIG, progress=False)
    assert bare(shuffled) == bare([verdicts[row] for row in order])
    alone = [decide(tiny_resnet, images, row, CONFIG) for row in (3, 17)]
    assert bare(alone) == bare([verdicts[3], verdicts[17]])


def test_an_interrupted_run_continues_to_the_same_verdicts(tiny_resnet, images, verdicts, tmp_path, monkeypatch):
    key = run_key(tiny_resnet.card.sha256, CONFIG, NORMALIZATION)
    settled = []

    def decide_until(limit):
        def count(network, images, row, *settings):
            if len(settled) >= limit:
                raise KeyboardInterrupt
            settled.append(int(images.indices[row]) - 100)
            return decide(network, images, row, *settings)

        return count

    for limit in (7, 7, 19, 1000):
        monkeypatch.setattr(funnel, "decide", decide_until(limit))
        with Ledger(tmp_path / "run.sqlite", key) as ledger:
            if limit < 1000:
                with pytest.raises(KeyboardInterrupt):
                    run_funnel(tiny_resnet, images, CONFIG, ledger=ledger, progress=False)
                assert len(ledger) == limit
            else:
                assert bare(run_funnel(tiny_resnet, images, CONFIG, ledger=ledger, progress=False)) == bare(verdicts)
    assert sorted(settled) == list(range(40)), "no image was settled twice"


def test_equal_images_with_different_labels_keep_their_own_verdicts(tiny_resnet, images, tmp_path):
    twice = images.take([1, 1])
    twins = ImageSet(
        twice.levels, np.array([images.labels[1], (images.labels[1] + 1) % 5]), np.array([8, 9]), "twins",
        images.class_names, NORMALIZATION,
    )  # fmt: skip
    with Ledger(tmp_path / "run.sqlite", run_key("x", CONFIG, NORMALIZATION)) as ledger:
        for _ in range(2):
            found = run_funnel(tiny_resnet, twins, CONFIG, ledger=ledger, progress=False)
            assert [v.index for v in found] == [8, 9]
            assert found[0].status != "misclassified"
            assert found[1].status == "misclassified"


@pytest.mark.parametrize(("method", "status"), [("ibp", "open"), ("crown", "verified"), ("alpha-crown", "verified")])
def test_by_hand_on_two_neurons(tmp_path, method, status):
    """lead 2.75 on u, v in [-1, 1]: the smallest margin is 0.75; IBP proves -0.25, CROWN 0.25 (see toys)."""
    network = open_network(toys.two_neuron_net(tmp_path), device="cpu")
    images = ImageSet(np.full((1, 1, 1, 2), 128, np.uint8), np.zeros(1, np.int64), np.zeros(1, np.int64), "grey",
                      ("a", "b", "c"), toys.HALF)  # fmt: skip
    config = SelectionConfig(
        eps=127 / 255, attack=AttackConfig(steps=30, restarts=6), bounds=BoundsConfig(method=method)
    )
    verdict = decide(network, images, 0, config)
    assert verdict.status == status
    assert verdict.attack_margin == pytest.approx(0.75, abs=0.03)
    assert verdict.bound == pytest.approx({"ibp": -0.25, "crown": 0.25, "alpha-crown": 0.25}[method], abs=0.03)


def test_a_broken_image_is_attacked_by_the_quick_attack(tmp_path):
    """lead 1.5: the smallest margin is 1.5 - 2 = -0.5, at a corner every restart slides into."""
    network = open_network(toys.two_neuron_net(tmp_path, lead=1.5), device="cpu")
    images = ImageSet(np.full((1, 1, 1, 2), 128, np.uint8), np.zeros(1, np.int64), np.zeros(1, np.int64), "grey",
                      ("a", "b", "c"), toys.HALF)  # fmt: skip
    verdict = decide(network, images, 0, SelectionConfig(eps=127 / 255))
    assert (verdict.status, verdict.decided_by, verdict.attack_rival) == ("attacked", "quick attack", 1)


def test_an_unsound_bound_stops_the_run(tiny_resnet, images):
    box = Box.around(images.pixels[[1]], NORMALIZATION, CONFIG.eps)
    trace = run_attack(tiny_resnet, box, images.labels[[1]], images.ids[1:2], CONFIG.attack)
    honest = margin_bounds(tiny_resnet, box, images.labels[[1]], CONFIG.bounds)
    refuse_unsound(honest, trace, images.ids[1])
    lower = honest.lower.copy()
    lower[0, 2] = trace.values[0, 2] + 0.01
    lying = MarginBounds("crown", lower, honest.rivals, honest.labels, honest.seconds, honest.tolerance)
    with pytest.raises(BoundsError, match=r"crown: lower bound .* lies above .*, which PGD observed .* unsound"):
        refuse_unsound(lying, trace, images.ids[1])


def test_images_of_another_data_set_are_refused(tiny_resnet, images, small_network):
    with pytest.raises(NetworkError, match=r"takes images \(3, 32, 32\) of 100 classes, random has \(3, 8, 8\) of 5"):
        run_funnel(small_network, images, CONFIG, progress=False)


def test_a_network_with_channels_last_is_named_as_one(tmp_path, images):
    nodes = [helper.make_node("Flatten", ["x"], ["f"]), toys.gemm("f", "y", "1")]
    stored = {"1.w": np.ones((5, 192), np.float32), "1.b": np.zeros(5, np.float32)}
    network = open_network(
        toys.save_onnx(tmp_path / "hwc.onnx", nodes, stored, input_shape=(8, 8, 3), output_shape=(5,))
    )
    with pytest.raises(NetworkError, match=r"takes images \(8, 8, 3\) .* \(HWC\): export it with channels first"):
        run_funnel(network, images, CONFIG, progress=False)


@pytest.mark.parametrize("method", ["crown-ibp", "crown last layer"])
def test_cheaper_bounds_are_tried_only_within_reach(tiny_resnet, images, verdicts, monkeypatch, method):
    """The same statuses with and without them: CROWN decides in the end."""
    tried = []

    def counting(*given, only_last=False, **more):
        tried.append(given[3].method + " last layer" * only_last)
        return margin_bounds(*given, only_last=only_last, **more)

    monkeypatch.setattr(deciding, "margin_bounds", counting)
    found = {}
    for reach in (0.0, 6.0, 1e9):
        tried.clear()
        monkeypatch.setitem(deciding.REACH, method, reach)
        statuses = [v.status for v in run_funnel(tiny_resnet, images, CONFIG, progress=False)]
        assert statuses == [v.status for v in verdicts]
        found[reach] = (tried.count("ibp"), tried.count(method))
    survivors = sum(v.status in ("verified", "open") for v in verdicts)
    broken_late = sum(v.decided_by == "full attack" and v.status == "attacked" for v in verdicts)
    cheaper = ("ibp",) if method == "crown-ibp" else ("ibp", "crown-ibp")
    proved_before = sum(v.decided_by in cheaper for v in verdicts)
    assert {ibp for ibp, _ in found.values()} == {survivors + broken_late}
    assert found[0.0][1] == 0
    assert found[1e9][1] == survivors + broken_late - proved_before
    assert 0 < found[6.0][1] <= found[1e9][1]


@pytest.mark.parametrize("method", ["ibp", "crown-ibp"])
def test_the_method_that_decides_is_never_skipped(tiny_resnet, images, method, monkeypatch):
    monkeypatch.setattr(deciding, "REACH", dict.fromkeys(deciding.REACH, 0.0))
    config = replace(CONFIG, bounds=BoundsConfig(method=method))
    found = run_funnel(tiny_resnet, images.take(range(1, 8)), config, progress=False)
    assert [v.status for v in found] == plain_order(tiny_resnet, images.take(range(1, 8)), config)


def test_the_bench_adds_up_by_hand():
    """Four images: seconds of attack 10 (4 without repeated cycles), bounds 2 each; the funnel takes 0, 1, 2, 13."""
    verdicts = tuple(
        Verdict("x", index, 0, 0, status, "by hand", 1.0) for index, status in enumerate(STATUSES)
    )  # fmt: skip
    seconds = np.array([0.0, 1.0, 2.0, 13.0]), np.full(4, 10.0), np.full(4, 4.0), np.full(4, 2.0)
    bench = FunnelBench("toy", *seconds, verdicts, np.array(STATUSES))
    assert bench.every_image == 48 / 16
    assert bench.plain_order == (30 + 4) / 16
    assert bench.plain_order_shortcut == (12 + 4) / 16
    assert bench.limit == 34 / (2 + 4)
    assert bench.different == ()
    assert "all statuses identical" in bench.describe()
    worse = FunnelBench("toy", *seconds, verdicts, np.array([*STATUSES[:3], "attacked"]))
    assert worse.different == (3,)
    assert "statuses differ for [3]" in worse.describe()
    nothing = FunnelBench("toy", *seconds, verdicts[:1] * 4, np.array(["attacked"] * 4))
    assert nothing.limit == float("inf")


def test_the_bench_measures_both_orders(tiny_resnet, images):
    few = images.take([0, 1, 2, 3])
    bench = bench_funnel(tiny_resnet, few, CONFIG)
    assert bench.plain.tolist() == plain_order(tiny_resnet, few, CONFIG)
    assert bench.different == ()
    assert all((seconds > 0).all() for seconds in (bench.funnel, bench.attack, bench.bounds))


def test_crown_of_the_last_layer_comes_before_crown_and_is_sound(tiny_resnet, images, verdicts):
    """Where it proves, CROWN is spared; where it does not, CROWN decides; between CROWN-IBP and CROWN in tightness."""
    survivors = [row for row, v in enumerate(verdicts) if v.status in ("verified", "open")]
    box, labels = Box.around(images.pixels, NORMALIZATION, CONFIG.eps).take(survivors), images.labels[survivors]
    last = margin_bounds(tiny_resnet, box, labels, CONFIG.bounds, only_last=True)
    full = margin_bounds(tiny_resnet, box, labels, CONFIG.bounds)
    cheap = margin_bounds(tiny_resnet, box, labels, replace(CONFIG.bounds, method="crown-ibp"))
    assert last.method == "crown last layer"
    assert cheap.smallest.mean() < last.smallest.mean() < full.smallest.mean()
    trace = run_attack(tiny_resnet, box, labels, [images.ids[row] for row in survivors], CONFIG.attack)
    assert (last.lower <= trace.values + 1e-4).all()
    steps = {v.decided_by for v in verdicts if v.status == "verified"}
    assert steps <= {"ibp", "crown-ibp", "crown last layer", "crown"}
