"""PGD: answers by hand, invariants of trajectories, reproducibility, the judge's last word, refusals."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import toys

from nbutils.attacks import descent, pgd, run_attack
from nbutils.attacks.descent import Batch, descend, minus_cross_entropy, sign_steps, smallest_margin, uniform_starts
from nbutils.core import AttackConfig, AttackTrace, Box, ParameterError, class_margins
from nbutils.images import load_images
from nbutils.networks import Network, folded, open_network, twin_of
from nbutils.networks.fast_twin import LINEAR_ROWS, steady

FULL = AttackConfig(steps=12, restarts=3, early_stop=False)


def names(count: int) -> list[str]:
    return [f"image {number}" for number in range(count)]


def random_box(network: Network, count: int, eps: float = 0.1) -> Box:
    shape = (count, *network.input_shape)
    middle = np.random.default_rng(5).uniform(0, 1, shape).astype(np.float32)
    return Box((middle - eps).astype(np.float32), (middle + eps).astype(np.float32), middle)


def attack_random(network: Network, count: int, config: AttackConfig = FULL, **options: object) -> AttackTrace:
    labels = np.arange(count) % network.classes
    return run_attack(network, random_box(network, count), labels, names(count), config, **options)


def same(one: AttackTrace, other: AttackTrace, rows: object = slice(None)) -> None:
    """Equal bytes in all but the seconds; `rows` of the first are the images of the second."""
    for field in ("margins", "losses", "points", "values", "rivals", "success", "steps_used"):
        np.testing.assert_array_equal(getattr(one, field)[rows], getattr(other, field), err_msg=field)


def with_judge(network: Network, judge: object) -> SimpleNamespace:
    fields = ("name", "module", "input_shape", "classes", "device")
    return SimpleNamespace(judge=judge, **{field: getattr(network, field) for field in fields})


# Answers by hand


@pytest.mark.parametrize("loss", ["margin", "cross_entropy"])
def test_linear_net_reaches_the_exact_minimum(linear: Network, loss: str) -> None:
    # Half-width w = 1/16: m2 = p - r + 3s + 1/2 >= 1/2 - 5w = 3/16, and m1 >= 1 - 4w = 3/4 stays larger.
    box = Box.around(np.full((1, 1, 2, 2), 0.5, dtype=np.float32), toys.HALF, 1 / 32)
    trace = run_attack(linear, box, np.array([0]), ["a"], AttackConfig(steps=20, restarts=4, loss=loss))
    np.testing.assert_array_equal(trace.margins[0, -1], np.full(4, 0.1875, dtype=np.float32))
    assert trace.smallest[0] == np.float32(0.1875)
    p, _, r, s = trace.points[0].ravel()
    assert (p, r, s) == (-1 / 16, 1 / 16, -1 / 16)
    assert not trace.success[0]


@pytest.mark.parametrize("lead", [2.75, 1.0])
def test_two_neuron_net_reaches_the_exact_minimum(tmp_path: Path, lead: float) -> None:
    network = open_network(toys.two_neuron_net(tmp_path, lead), device="cpu")
    trace = run_attack(network, toys.two_neuron_box(), np.array([0]), ["a"], AttackConfig(restarts=6, early_stop=False))
    assert trace.smallest[0] == pytest.approx(lead - 2, abs=1e-6)
    assert trace.margins.min() >= lead - 2 - 1e-6
    if lead < 2:  # rival 1 is the strongest all over the box: every restart gets there
        assert trace.margins[0, -1] == pytest.approx(np.full(6, lead - 2), abs=1e-6)
    assert bool(trace.success[0]) == (lead < 2)


def test_steps_follow_the_formula(linear: Network) -> None:
    box = Box.around(np.full((1, 1, 2, 2), 0.5, dtype=np.float32), toys.HALF, 1 / 32)
    trace = run_attack(linear, box, np.array([0]), ["a"], FULL, keep_paths=True)
    slope = np.float32([1, 0, -1, 3]).reshape(1, 2, 2)  # of m2, the smallest margin all over the box
    for before, after in zip(trace.paths[0, :-1], trace.paths[0, 1:], strict=True):
        expected = np.clip(before - np.float32(0.25 / 16) * np.sign(slope), box.lower[0], box.upper[0])
        np.testing.assert_array_equal(after, expected)


def test_losses_by_hand() -> None:
    logits, labels = torch.tensor([[[1.0, 3.0, 2.0], [5.0, 0.0, 0.0]]]), torch.tensor([[0]])
    assert smallest_margin(logits, labels).tolist() == [[-2.0, 5.0]]
    probability = np.exp(1) / np.exp([1, 3, 2]).sum()
    assert minus_cross_entropy(logits, labels)[0, 0].item() == pytest.approx(np.log(probability), rel=1e-6)


@pytest.mark.parametrize("loss", descent.LOSSES.values(), ids=pgd.LOSSES)
def test_gradients_of_losses_match_finite_differences(loss: descent.Loss) -> None:
    logits = torch.randn(2, 3, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0), requires_grad=True)
    assert torch.autograd.gradcheck(lambda z: loss(z, torch.tensor([[1], [4]])), logits)


def test_gradient_at_the_input_matches_finite_differences(two_neuron: Network) -> None:
    # At (1/2, 1/4) both neurons are on: m1 = (u + v + 1) - (u - v + 1) + lead has the slope (0, 2).
    box = toys.two_neuron_box()
    batch = Batch.of(box, np.array([0]), ["a"], torch.device("cpu"))
    seen: list[np.ndarray] = []

    def spy(step: int, x: torch.Tensor, losses: torch.Tensor, gradient: torch.Tensor) -> torch.Tensor:
        seen.append(gradient.numpy())
        return x

    start = np.float32([0.5, 0.25]).reshape(1, 1, 1, 1, 2)
    list(descend(twin_of(two_neuron.module), batch, torch.from_numpy(start), smallest_margin, spy, 1))
    step = np.float32(2**-5)

    def margin(shift: list[float]) -> float:
        return class_margins(two_neuron.judge(start[0] + np.float32(shift)), [0]).values.min()

    slopes = [(margin([h, 0]) - margin([-h, 0])) / (2 * h) for h in [step]]
    slopes += [(margin([0, h]) - margin([0, -h])) / (2 * h) for h in [step]]
    assert seen[0].ravel().tolist() == pytest.approx(slopes) == [0, 2]


# Invariants


def test_trajectories_keep_their_invariants(tiny_resnet: Network) -> None:
    box, labels = random_box(tiny_resnet, 4), np.arange(4)
    trace = run_attack(tiny_resnet, box, labels, names(4), FULL, keep_paths=True)
    assert trace.margins.shape == trace.losses.shape == (4, 13, 3)
    assert trace.paths.shape == (4, 13, 3, 3, 8, 8)
    assert trace.values.shape == trace.rivals.shape == (4, 4)
    for step in range(13):
        for restart in range(3):
            points = trace.paths[:, step, restart]
            assert box.contains(points).all()
            again = class_margins(tiny_resnet.judge(points), labels).smallest
            np.testing.assert_allclose(trace.margins[:, step, restart], again, atol=1e-5)
    assert box.contains(trace.points).all()
    np.testing.assert_array_equal(trace.losses, trace.margins)  # the loss "margin" is the smallest margin
    np.testing.assert_allclose(trace.smallest, trace.margins.min(axis=(1, 2)), atol=1e-5)
    np.testing.assert_array_equal(trace.success, trace.smallest <= 0)
    assert (trace.steps_used == 12).all()
    assert (trace.seconds > 0).all()
    assert (trace.margins[:, -1].min(axis=1) < trace.margins[:, 0].min(axis=1)).all()  # it descends


def test_zero_steps_leave_the_starts(mlp: Network) -> None:
    config = AttackConfig(steps=0, restarts=5, early_stop=False)
    trace = attack_random(mlp, 3, config, keep_paths=True)
    batch = Batch.of(random_box(mlp, 3), np.arange(3), names(3), torch.device("cpu"))
    starts = uniform_starts(batch, [[(0, "start", name, restart) for restart in range(5)] for name in names(3)])
    np.testing.assert_array_equal(trace.paths[:, 0], starts.numpy())
    lowest = trace.margins[:, 0].argmin(axis=1)
    np.testing.assert_array_equal(trace.points, trace.paths[np.arange(3), 0, lowest])
    assert trace.margins.shape == (3, 1, 5)
    assert (trace.steps_used == 0).all()


def test_starts_are_uniform_and_inside(mlp: Network) -> None:
    box = random_box(mlp, 1)
    batch = Batch.of(box, np.array([0]), ["a"], torch.device("cpu"))
    starts = uniform_starts(batch, [[("s", restart) for restart in range(4000)]]).numpy()[0]
    assert ((starts >= box.lower) & (starts <= box.upper)).all()
    share = (starts - box.lower[0]) / (box.upper[0] - box.lower[0])
    for level in (0.1, 0.5, 0.9):  # 64,000 draws: standard error below 0.002
        assert (share < level).mean() == pytest.approx(level, abs=0.01)


def test_a_box_without_width_stays_put(mlp: Network) -> None:
    point = random_box(mlp, 1).center
    trace = run_attack(mlp, Box(point, point, point), np.array([0]), ["a"], FULL, keep_paths=True)
    assert (trace.paths == point).all()


def test_no_slope_no_step(linear: Network) -> None:
    box = random_box(linear, 1)
    batch = Batch.of(box, np.array([0]), ["a"], torch.device("cpu"))
    start = uniform_starts(batch, [[("s", 0)]])

    def steep(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        return (0 * logits).sum(-1).sqrt()  # 0 * infinity: its gradient is NaN

    for x, _, _ in descend(twin_of(linear.module), batch, start, steep, sign_steps(batch.half_width), 2):
        np.testing.assert_array_equal(x.numpy(), start.numpy())


# Early stop and the judge


def test_early_stop_ends_at_the_first_rival_ahead(tmp_path: Path) -> None:
    network = open_network(toys.two_neuron_net(tmp_path, 1.0), device="cpu")
    arguments = network, toys.two_neuron_box(8), np.zeros(8, dtype=np.int64), names(8)
    free = run_attack(*arguments, AttackConfig(steps=20, restarts=2, step_size=0.1, early_stop=False), keep_paths=True)
    stopped = run_attack(*arguments, AttackConfig(steps=20, restarts=2, step_size=0.1), keep_paths=True)
    assert stopped.success.all()
    assert len(set(stopped.steps_used.tolist())) > 1, "the images should stop at different steps"
    for image, stop in enumerate(stopped.steps_used):
        assert stopped.margins[image, stop].min() <= 0
        assert (stopped.margins[image, :stop] > 0).all()
        np.testing.assert_array_equal(stopped.margins[image, : stop + 1], free.margins[image, : stop + 1])
        for array in (stopped.margins, stopped.losses, stopped.paths):
            assert np.isnan(array[image, stop + 1 :]).all()
            assert not np.isnan(array[image, : stop + 1]).any()
        assert stopped.smallest[image] == pytest.approx(stopped.margins[image, stop].min(), abs=1e-6)
    same(stopped, run_attack(*arguments, AttackConfig(steps=20, restarts=2, step_size=0.1), images_per_pass=3))


def test_level_with_the_label_counts_as_a_counterexample(linear: Network) -> None:
    # w = 1/10 in exact arithmetic gives m2 = 0; here the box is a point with m2 = p - r + 3s + 1/2 = 0.
    point = np.float32([-0.25, 0, 0.25, 0]).reshape(1, 1, 2, 2)
    trace = run_attack(linear, Box(point, point, point), np.array([0]), ["a"], AttackConfig(steps=3, restarts=1))
    assert trace.smallest[0] == 0
    assert trace.success[0]
    assert trace.steps_used[0] == 0


def test_the_judge_has_the_last_word(tmp_path: Path) -> None:
    network = open_network(toys.two_neuron_net(tmp_path, 1.0), device="cpu")
    arguments = toys.two_neuron_box(), np.array([0]), ["a"], AttackConfig(steps=10, restarts=2)
    assert run_attack(network, *arguments).success[0], "the twin sees a rival ahead"

    def never(x: np.ndarray) -> np.ndarray:
        return np.tile(np.float32([1, 0, 0]), (len(x), 1))

    trace = run_attack(with_judge(network, never), *arguments)
    assert not trace.success[0]
    assert trace.smallest[0] == 1
    assert trace.steps_used[0] == 10
    assert not np.isnan(trace.margins).any()
    assert trace.margins.min() < 0


def test_goes_on_until_the_judge_agrees_and_keeps_that_point(tmp_path: Path) -> None:
    network = open_network(toys.two_neuron_net(tmp_path, 1.0), device="cpu")

    def strict(x: np.ndarray) -> np.ndarray:
        logits = network.judge(x)
        logits[:, 0] += 0.875  # its margins are that much higher; the lowest in the box is -1/8
        return logits

    arguments = toys.two_neuron_box(), np.array([0]), ["a"], AttackConfig(steps=40, restarts=2, step_size=0.05)
    early, late = run_attack(network, *arguments), run_attack(with_judge(network, strict), *arguments)
    assert late.success[0]
    assert early.steps_used[0] < late.steps_used[0] < 40
    assert late.margins[0, late.steps_used[0]].min() <= -0.875
    assert late.smallest[0] == pytest.approx(late.margins[0, late.steps_used[0]].min() + 0.875, abs=1e-6)


# Reproducible


@pytest.mark.parametrize("net", ["mlp", "tiny_resnet"])
def test_an_image_does_not_depend_on_the_others(net: str, request: pytest.FixtureRequest) -> None:
    network = request.getfixturevalue(net)
    box, labels, ids = random_box(network, 6), np.arange(6) % network.classes, np.array(names(6))
    whole = run_attack(network, box, labels, ids, FULL)
    for rows in ([3, 1, 5, 0, 2, 4], [2], [5, 4]):
        same(whole, run_attack(network, box.take(rows), labels[rows], ids[rows], FULL), rows)
    for together in (2, 4, 6, 100):
        same(whole, run_attack(network, box, labels, ids, FULL, images_per_pass=together))


@pytest.mark.parametrize("net", ["mlp", "tiny_resnet"])
def test_more_restarts_leave_the_earlier_ones_as_they_are(net: str, request: pytest.FixtureRequest) -> None:
    network = request.getfixturevalue(net)
    few, many = (
        attack_random(network, 2, AttackConfig(steps=12, restarts=restarts, early_stop=False)) for restarts in (1, 9)
    )
    np.testing.assert_array_equal(few.margins, many.margins[:, :, :1])


def test_seed_and_image_change_the_draw(mlp: Network) -> None:
    one, two = (attack_random(mlp, 1, AttackConfig(steps=0, restarts=1, seed=seed)) for seed in (0, 1))
    assert (one.points != two.points).any()
    box = random_box(mlp, 1)
    other = run_attack(mlp, box, np.array([0]), ["another image"], AttackConfig(steps=0, restarts=1))
    assert (one.points != other.points).any()


SCRIPT = """
import hashlib, sys
sys.path[:0] = [sys.argv[1], sys.argv[1] + "/attacks"]
from pathlib import Path
import test_attack, toys
from nbutils.networks import open_network
network = open_network(Path(sys.argv[2]), device="cpu")
print(test_attack.digest(test_attack.attack_random(network, 2)))
"""


def digest(trace: AttackTrace) -> str:
    return hashlib.sha256(trace.margins.tobytes() + trace.points.tobytes() + trace.values.tobytes()).hexdigest()


def test_same_seed_same_bytes_in_another_process(mlp: Network) -> None:
    command = [sys.executable, "-c", SCRIPT, str(Path(__file__).parents[1]), str(mlp.path)]
    told = subprocess.run(command, capture_output=True, text=True, check=True, cwd=Path(__file__).parents[2])
    assert told.stdout.split() == [digest(attack_random(mlp, 2))]


# The faster copy


def test_folded_copy_agrees_and_leaves_the_network_alone(tiny_resnet: Network) -> None:
    before = {name: value.clone() for name, value in tiny_resnet.module.state_dict().items()}
    copy = folded(tiny_resnet.module)

    def norms(module: torch.nn.Module) -> int:
        called = {node.target for node in module.graph.nodes if node.op == "call_module"}
        return sum(isinstance(module.get_submodule(name), torch.nn.BatchNorm2d) for name in called)

    assert (norms(tiny_resnet.module), norms(copy)) == (4, 0)
    x = torch.from_numpy(random_box(tiny_resnet, 9).center)
    torch.testing.assert_close(copy(x), tiny_resnet.module(x), atol=1e-5, rtol=1e-5)
    after = tiny_resnet.module.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_modules_without_a_graph_are_copied(mlp: Network) -> None:
    plain = torch.nn.Sequential(torch.nn.Conv2d(1, 2, 3), torch.nn.BatchNorm2d(2), torch.nn.Flatten()).eval()
    x = torch.ones(3, 1, 4, 4)
    torch.testing.assert_close(twin_of(plain)(x), plain(x))


@pytest.mark.parametrize("net", ["mlp", "tiny_resnet", "small_network"])
def test_rows_do_not_depend_on_how_many_there_are(net: str, request: pytest.FixtureRequest) -> None:
    network = request.getfixturevalue(net)
    x = torch.from_numpy(np.random.default_rng(1).standard_normal((24, *network.input_shape)).astype(np.float32))
    twin = twin_of(network.module)

    def passes(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        x = x.clone().requires_grad_()
        logits = twin(x)
        return logits.detach(), torch.autograd.grad(logits.max(-1).values.sum(), x)[0]

    logits, gradient = passes(x)
    for rows in (1, 2, 3, 5, 6, 7, 10, 20):
        part, slope = passes(x[:rows])
        assert torch.equal(part, logits[:rows]), rows
        assert torch.equal(slope, gradient[:rows]), rows


@pytest.mark.parametrize("rows", [0, 1, LINEAR_ROWS, LINEAR_ROWS + 1])
def test_a_steady_copy_made_while_inferring_has_the_values_and_gradients_of_its_module(rows: int) -> None:
    module = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(4, 3))
    with torch.inference_mode():
        steady(module)(torch.zeros(1, 4))
    x = torch.randn(rows, 4, generator=torch.Generator().manual_seed(0)).requires_grad_()
    logits = steady(module)(x)
    torch.testing.assert_close(logits, module(x))
    torch.testing.assert_close(torch.autograd.grad(logits.sum(), x)[0], module[1].weight.sum(0).expand(rows, 4))


# Refusals


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"labels": np.array([0])}, r"number of labels: found \(1,\); allowed: 2, one for each image of the box"),
        ({"ids": ["a"]}, r"number of image ids: found 1; allowed: 2, one for each image of the box"),
        ({"labels": np.array([0, 4])}, r"label: found \[4\]; allowed: 0 to 3, the classes of mlp_0"),
        ({"labels": np.array([-1, 0])}, r"label: found \[-1\]; allowed: 0 to 3"),
        ({"labels": np.array([0.5, 0])}, r"label: found \[0\.5\]; allowed: 0 to 3"),
        ({"box": toys.two_neuron_box(2)}, r"box: found \(2, 1, 1, 2\); allowed: \[N, 1, 4, 4\], as mlp_0 asks"),
        ({"images_per_pass": 0}, r"images_per_pass: found 0; allowed: 1 or more"),
    ],
    ids=lambda value: value if isinstance(value, str) else ",".join(value),
)
def test_refuses(mlp: Network, change: dict, message: str) -> None:
    arguments = {"box": random_box(mlp, 2), "labels": np.array([0, 1]), "ids": ["a", "b"], "config": FULL} | change
    with pytest.raises(ParameterError, match=message):
        run_attack(mlp, **arguments)


def test_no_images_no_work(mlp: Network) -> None:
    trace = attack_random(mlp, 0)
    assert trace.margins.shape == (0, 13, 3)
    assert trace.success.shape == trace.smallest.shape == (0,)


def test_progress_is_shown_on_request(mlp: Network, capsys: pytest.CaptureFixture[str]) -> None:
    attack_random(mlp, 2)
    assert capsys.readouterr().err == ""
    attack_random(mlp, 2, progress=True)
    assert "attack: 100%" in capsys.readouterr().err


# The real network


def test_embedded_images_at_the_published_radius(small_network: Network) -> None:
    images = load_images("embedded")
    box = Box.around(images.pixels, images.normalization, 1 / 255)
    natural = class_margins(small_network.judge(box.center), images.labels).smallest
    rows = np.flatnonzero(natural > 0)
    assert rows.tolist() == [0, 2, 3, 4, 7, 8, 9, 11, 12, 13, 14, 15, 16, 17, 18, 19]
    config = AttackConfig(steps=10, restarts=4)
    trace = run_attack(small_network, box.take(rows), images.labels[rows], [images.ids[row] for row in rows], config)
    assert rows[trace.success].tolist() == [0, 2, 4, 7, 11]
    assert box.take(rows).contains(trace.points).all()
    again = class_margins(small_network.judge(trace.points), images.labels[rows])
    np.testing.assert_array_equal(again.values, trace.values)
    assert (trace.smallest < natural[rows]).all()


def test_repeated_steps_are_not_computed_and_change_no_byte(two_neuron, monkeypatch):
    """Signed steps on two neurons swing between two points after a few steps; the trace is that of computed ones."""
    box, config = toys.two_neuron_box(), AttackConfig(steps=40, restarts=4, step_size=0.3, early_stop=False)
    passes = []
    real = descent.smallest_margin
    monkeypatch.setattr(pgd, "LOSSES", {"margin": lambda *a: passes.append(1) or real(*a)})

    def traced():
        passes.clear()
        found = run_attack(two_neuron, box, np.zeros(1, np.int64), ("a",), config, keep_paths=True)
        arrays = (found.margins, found.losses, found.points, found.values, found.steps_used, found.paths)
        return [array.tobytes() for array in arrays], len(passes)

    short, few = traced()
    monkeypatch.setattr(descent, "PERIODS", (1000,))
    plain, all_steps = traced()
    assert short == plain
    assert few < 25 < all_steps == 41
