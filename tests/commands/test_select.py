"""`python -m nbutils select`: what it prints, and that nothing is lost however it ends."""

import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import suppress
from types import SimpleNamespace

import numpy as np
import onnx.helper
import psutil
import pytest
import toys

from nbutils.__main__ import main
from nbutils.images import DATASETS
from nbutils.networks import open_network
from nbutils.selection import selected_images
from nbutils.selection.cluster import _interrupts

USUAL = DATASETS["cifar100"].normalization
STATED = ["--mean", *map(str, USUAL.mean), "--std", *map(str, USUAL.std)]  # the network has no card
SETTINGS = ["--eps", "2/255", "--steps", "150", "--restarts", "20"]


@pytest.fixture(scope="module")
def job(tmp_path_factory):
    """A network with 100 classes, 40 images for it in an archive, and the arguments that filter them."""
    folder = tmp_path_factory.mktemp("select")
    network = open_network(hundred_classes(folder), device="cpu")
    levels = np.random.default_rng(3).integers(0, 256, (40, 3, 4, 4), dtype=np.uint8).repeat(8, 2).repeat(8, 3)
    pixels = levels.astype(np.float32) / np.float32(255)
    labels = network.judge(DATASETS["cifar100"].normalization.to_network(pixels)).argmax(axis=1)
    labels[::8] = (labels[::8] + 1) % 100
    np.savez(folder / "images.npz", images=levels, labels=labels)
    images = ["--images", "npz", "--path", str(folder / "images.npz"), "--dataset", "cifar100", *STATED]
    arguments = ["select", str(network.path), *images, *SETTINGS]
    ledger = folder / "expected.sqlite"
    assert main([*arguments, "--ledger", str(ledger)]) == 0
    return SimpleNamespace(arguments=arguments, expected=rows(ledger), folder=folder)


def hundred_classes(folder):
    """Input [N, 3, 32, 32]: two strided convolutions with ReLUs, 100 logits of which only five ever lead."""
    rng = np.random.default_rng(0)
    weights = {
        "a.w": (rng.standard_normal((8, 3, 4, 4)) / 7).astype(np.float32),
        "b.w": (rng.standard_normal((16, 8, 4, 4)) / 11).astype(np.float32),
        "d.w": (rng.standard_normal((100, 64)) / 8).astype(np.float32),
        "d.b": np.float32([0] * 5 + [-100] * 95),
    }
    nodes = [
        onnx.helper.make_node("Conv", ["x", "a.w"], ["a"], strides=[4, 4]),
        onnx.helper.make_node("Relu", ["a"], ["ar"]),
        onnx.helper.make_node("Conv", ["ar", "b.w"], ["b"], strides=[4, 4]),
        onnx.helper.make_node("Relu", ["b"], ["br"]),
        onnx.helper.make_node("Flatten", ["br"], ["flat"]),
        toys.gemm("flat", "y", "d"),
    ]
    return toys.save_onnx(folder / "hundred.onnx", nodes, weights, input_shape=(3, 32, 32), output_shape=(100,))


def rows(ledger):
    """Everything a ledger says of its images but the seconds, in its own order."""
    with sqlite3.connect(ledger) as db:
        names = [row[1] for row in db.execute("PRAGMA table_info(verdicts)") if row[1] != "seconds"]
        return db.execute("SELECT " + ", ".join(f'"{name}"' for name in names) + " FROM verdicts").fetchall()


def start(arguments):
    """The command as a process group of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", "nbutils", *arguments],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip


def wait_for_more(ledger, known, process):
    """Return once the ledger holds more than `known` rows."""
    while process.poll() is None:
        if ledger.exists():
            try:
                with sqlite3.connect(ledger) as db:
                    if db.execute("SELECT count(*) FROM verdicts").fetchone()[0] > known:
                        return
            except sqlite3.OperationalError:
                pass  # not made yet
        time.sleep(0.01)


def living(group):
    """Processes of a group that still run (the ended ones may wait for their parent)."""
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.NoSuchProcess, ProcessLookupError):
            if os.getpgid(process.pid) == group and process.status() != psutil.STATUS_ZOMBIE:
                found.append(" ".join(process.cmdline()))
    return found


def statuses(text):
    """The counts that the command prints."""
    found = [line.split() for line in text.splitlines()]
    return {words[0]: int(words[1]) for words in found if len(words) == 3 and words[2].endswith("%")}


def test_the_report(job, capsys):
    ledger = job.folder / "expected.sqlite"
    assert main([*job.arguments, "--ledger", str(ledger)]) == 0
    text = capsys.readouterr().out
    counts = statuses(text)
    assert list(counts) == ["misclassified", "attacked", "verified", "open"]
    assert all(counts.values()), f"precondition: every status occurs, found {counts}"
    assert sum(counts.values()) == 40
    assert text.splitlines()[0] == (
        "hundred on 40 images of npz/images.npz, in the order of the archive; normalisation mean 0.5071 0.4865 0.4409, "
        "std 0.2673 0.2564 0.2761, as stated by mean and std; radius 2/255 (--eps)"
    )
    assert "hundred on 40 npz/images.npz images, eps 2/255" in text
    assert "decided by: " in text
    assert "forward 5 (12.5%)" in text
    assert "0 images settled in" in text
    assert "; 40 were in the ledger; " in text
    assert len(text[text.index("open: ") + 6 :].splitlines()[0].split(", ")) == counts["open"]


def test_killed_three_times_and_started_again(job):
    ledger, wait = job.folder / "killed.sqlite", random.Random(7)
    seen = [0]
    for _ in range(3):
        process = start([*job.arguments, "--ledger", str(ledger)])
        wait_for_more(ledger, seen[-1], process)
        time.sleep(wait.uniform(0, 0.2))
        process.kill()
        process.communicate()
        assert process.returncode == -signal.SIGKILL, "precondition: it was killed before its end"
        seen.append(len(rows(ledger)))
    assert 0 < seen[1] < seen[2] < seen[3] < 40, "precondition: every run settled some images, none all"
    assert main([*job.arguments, "--ledger", str(ledger)]) == 0
    assert rows(ledger) == job.expected


def test_two_processes_on_one_ledger(job):
    ledger = job.folder / "shared.sqlite"
    both = [start([*job.arguments, "--ledger", str(ledger)]) for _ in range(2)]
    ends = [process.communicate() for process in both]
    assert [process.returncode for process in both] == [0, 0], ends
    assert statuses(ends[0][0]) == statuses(ends[1][0])
    assert rows(ledger) == job.expected


def test_interrupted_on_dask_and_started_again(job):
    ledger = job.folder / "interrupted.sqlite"
    process = start([*job.arguments, "--ledger", str(ledger), "--workers", "2"])
    wait_for_more(ledger, 0, process)
    os.killpg(process.pid, signal.SIGINT)  # as Ctrl-C in a terminal: parent and workers
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors
    assert "nbutils select: interrupted" in errors
    assert "Traceback" not in errors
    assert 0 < len(rows(ledger)) < 40
    for _ in range(100):  # an ending process is listed a moment longer
        if not living(process.pid):
            break
        time.sleep(0.1)
    assert not living(process.pid), "no worker is left"
    assert main([*job.arguments, "--ledger", str(ledger)]) == 0
    assert rows(ledger) == job.expected


def test_an_interrupt_that_a_finalizer_swallows_is_noted():
    before = signal.getsignal(signal.SIGINT)

    class Finalised:
        def __del__(self):
            signal.raise_signal(signal.SIGINT)

    with _interrupts() as came:
        with suppress(KeyboardInterrupt):  # Python says "Exception ignored in" and goes on
            Finalised()
        assert came == [signal.SIGINT]
    assert signal.getsignal(signal.SIGINT) is before


def test_the_strong_attack_has_a_ledger_of_its_own(job, capsys):
    ledger = job.folder / "expected.sqlite"
    arguments = [*job.arguments, "--ledger", str(ledger), "--attack", "strong"]
    assert main(arguments) == 0
    text = capsys.readouterr().out
    before = statuses(text)["open"]
    assert rows(ledger) == job.expected, "the funnel's rows stay as they are"
    second = rows(job.folder / "expected.strong.sqlite")
    assert len(second) == before
    more = sum("attacked" in row for row in second)
    assert f"strong attack: {more} more attacked, of {before} open images" in text
    assert main(arguments) == 0
    assert capsys.readouterr().out.splitlines()[-2:] == text.splitlines()[-2:]


def test_the_statuses_give_the_card_its_figures(job, tmp_path, capsys):
    network = tmp_path / "hundred.onnx"
    network.write_bytes((job.folder / "hundred.onnx").read_bytes())
    assert main(["select", str(network), *job.arguments[2:], "--count", "12", "--write-card"]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == f"card {tmp_path / 'hundred.json'}"
    figures = open_network(network, device="cpu").card.figures
    assert list(figures) == ["clean accuracy", "pgd accuracy", "crown verified"]
    assert {figure.n for figure in figures.values()} == {12}
    assert figures["clean accuracy"].value >= figures["pgd accuracy"].value >= figures["crown verified"].value > 0
    assert figures["pgd accuracy"].source.endswith("--steps 150 --restarts 20 --attack-seed 0 --method crown")
    assert "--count 12" in figures["pgd accuracy"].source


def test_one_ledger_is_about_one_normalisation(job, capsys):
    """Today a network without a card took the data set's, and nobody could say another one."""
    bare = [word for word in job.arguments if word not in STATED]
    ledger = job.folder / "expected.sqlite"
    assert main([*bare, "--ledger", str(ledger)]) == 2
    assert "normalisation of hundred: found no card and nothing given" in capsys.readouterr().err
    assert main([*bare, "--pixels", "--ledger", str(ledger)]) == 2
    assert "expected.sqlite: belongs to another run (normalization: ledger [[0.5071, " in capsys.readouterr().err
    assert rows(ledger) == job.expected


def test_a_card_with_figures_holds_the_normalisation_they_were_taken_with(job, tmp_path):
    network = tmp_path / "hundred.onnx"
    network.write_bytes((job.folder / "hundred.onnx").read_bytes())
    assert main(["select", str(network), *job.arguments[2:], "--count", "2", "--write-card"]) == 0
    assert open_network(network, device="cpu").normalization == USUAL
    bare = [word for word in job.arguments[2:] if word not in STATED]
    assert main(["select", str(network), *bare, "--count", "2"]) == 0  # the card says it from now on


def test_the_selection_is_exported(job, capsys):
    target = job.folder / "selected.csv"
    arguments = [*job.arguments, "--ledger", str(job.folder / "expected.sqlite"), "--export", str(target)]
    assert main(arguments) == 0
    pixels = job.folder / "hundred.npz"
    said = capsys.readouterr().out.splitlines()[-2:]
    assert said == [
        f"selection {target}",
        f"pixels of the selected images {pixels}, {len(selected_images(pixels))} in all",
    ]
    open_ids = [row[0] for row in job.expected if "open" in row]
    assert open_ids
    assert all(image_id in target.read_text() for image_id in open_ids)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--workers", "0"], "workers: found 0; allowed: a whole number of processes"),
        (["--scheduler", "nonsense://a"], "scheduler: found 'nonsense://a'"),
        (["--eps", "2"], "eps: found 2"),
    ],
)
def test_wrong_input_writes_nothing(job, capsys, arguments, message):
    ledger = job.folder / "nothing.sqlite"
    assert main([*job.arguments, "--ledger", str(ledger), *arguments]) == 2
    assert message in capsys.readouterr().err
    assert not ledger.exists()


def test_images_of_another_size_write_nothing(job, capsys, tmp_path):
    ledger = tmp_path / "nothing.sqlite"
    other = toys.tiny_resnet(tmp_path)
    assert main(["select", str(other), *job.arguments[2:], "--ledger", str(ledger)]) == 2
    assert "takes images (3, 8, 8) of 5 classes" in capsys.readouterr().err
    assert not ledger.exists()


def test_a_ledger_of_another_network_is_refused(job, capsys, tmp_path):
    toys.save_onnx(
        tmp_path / "other.onnx", [onnx.helper.make_node("Flatten", ["x"], ["f"]), toys.gemm("f", "y", "d")],
        {"d.w": np.zeros((100, 3072), np.float32), "d.b": np.arange(100, dtype=np.float32)},
        input_shape=(3, 32, 32), output_shape=(100,),
    )  # fmt: skip
    ledger = job.folder / "expected.sqlite"
    assert main(["select", str(tmp_path / "other.onnx"), *job.arguments[2:], "--ledger", str(ledger)]) == 2
    assert "belongs to another run (network: ledger" in capsys.readouterr().err
    assert rows(ledger) == job.expected
