"""The ledger keeps what was committed, whatever happens next, and refuses to mix runs."""

import os
import signal
import sqlite3
import subprocess
import sys
import textwrap
import threading

import numpy as np
import pytest

from nbutils.core import AttackConfig, LedgerError, Normalization, SelectionConfig, Verdict
from nbutils.selection import Ledger, ledger, run_key

PLAIN = Normalization((0.0,), (1.0,))
KEY = run_key("a" * 64, SelectionConfig(), PLAIN)


def verdict(image_id="1" * 64, **changes):
    fields = {
        "image_id": image_id, "index": 7, "label": 3, "predicted": 3, "status": "open", "decided_by": "full attack",
        "natural_margin": 0.5, "attack_margin": 0.1, "attack_rival": 4, "attack_steps": 110, "bound": -0.25,
        "bound_method": "crown", "seconds": 1.5,
    }  # fmt: skip
    return Verdict(**{**fields, **changes})


def test_a_verdict_comes_back_as_it_was(tmp_path):
    point = np.array([[[0.1, -2.5]]], dtype=np.float32)
    wrong = verdict("2" * 64, status="misclassified", decided_by="forward", predicted=9, attack_margin=None,
                    attack_rival=None, attack_steps=None, bound=None, bound_method=None)  # fmt: skip
    with Ledger(tmp_path / "run.sqlite", KEY) as ledger:
        ledger.add(verdict(point=point))
        ledger.add(wrong)
    with Ledger(tmp_path / "run.sqlite", KEY) as again:
        found = again.verdicts()
        assert len(again) == 2
    assert found == {"1" * 64 + "/3": verdict(), "2" * 64 + "/3": wrong}
    np.testing.assert_array_equal(found["1" * 64 + "/3"].point, point)
    assert found["1" * 64 + "/3"].hardness == pytest.approx(0.35)


def test_the_first_verdict_of_an_image_stays(tmp_path):
    with Ledger(tmp_path / "run.sqlite", KEY) as ledger:
        ledger.add(verdict())
        ledger.add(verdict(status="verified"))
        assert ledger.verdicts()["1" * 64 + "/3"].status == "open"


def test_equal_images_with_different_labels_are_two_rows(tmp_path):
    with Ledger(tmp_path / "run.sqlite", KEY) as ledger:
        ledger.add(verdict(label=3))
        ledger.add(verdict(label=5, status="misclassified"))
        assert {key: v.status for key, v in ledger.verdicts([("1" * 64) + "/5"]).items()} == {
            "1" * 64 + "/5": "misclassified"
        }
        assert len(ledger) == 2


@pytest.mark.parametrize(
    ("key", "named"),
    [
        (run_key("b" * 64, SelectionConfig(), PLAIN), "network: ledger 'aaaa"),
        (run_key("a" * 64, SelectionConfig(eps=2 / 255), PLAIN), "settings: ledger"),
        (run_key("a" * 64, SelectionConfig(attack=AttackConfig(seed=1)), PLAIN), "settings: ledger"),
        (run_key("a" * 64, SelectionConfig(), Normalization((0.5,), (1.0,))), "normalization: ledger"),
    ],
)
def test_a_ledger_of_another_run_is_refused(tmp_path, key, named):
    path = tmp_path / "run.sqlite"
    with Ledger(path, KEY) as ledger:
        ledger.add(verdict())
    with pytest.raises(
        LedgerError, match=rf"run\.sqlite: belongs to another run \({named}.*Choose another ledger path"
    ):
        Ledger(path, key)
    with Ledger(path, KEY) as ledger:
        assert len(ledger) == 1


def test_what_is_no_ledger_is_refused_and_left_alone(tmp_path):
    text, other = tmp_path / "notes.txt", tmp_path / "other.sqlite"
    text.write_text("these are notes, long enough to be read as a header of a database file\n" * 20)
    with sqlite3.connect(other) as db:
        db.execute("CREATE TABLE mine (x)")
    before = text.read_bytes()
    with pytest.raises(LedgerError, match="notes.txt: not usable as a ledger .*nothing was changed"):
        Ledger(text, KEY)
    with pytest.raises(LedgerError, match=r"other.sqlite: an SQLite file with tables \['mine'\], not a ledger"):
        Ledger(other, KEY)
    assert text.read_bytes() == before
    with pytest.raises(LedgerError, match="cannot be opened as a ledger"):
        Ledger(text / "below" / "run.sqlite", KEY)


def test_a_truncated_ledger_is_refused(tmp_path):
    path = tmp_path / "run.sqlite"
    with Ledger(path, KEY) as ledger:
        for number in range(400):
            ledger.add(verdict(f"{number:064d}", point=np.zeros((3, 8, 8), np.float32)))
    with open(path, "r+b") as file:
        file.truncate(os.path.getsize(path) // 2)
    with pytest.raises(LedgerError, match=r"run\.sqlite: (damaged|not usable).*Move it away"):
        Ledger(path, KEY)


def fill(ledger, first):
    """Add verdicts until the disk is full; how many were committed."""
    point = np.zeros((3, 32, 32), np.float32)
    verdicts = (verdict(f"{number:064d}", point=point) for number in range(first, 10**5))
    with pytest.raises(LedgerError, match=r"run\.sqlite: .*full.*free some space.*every image settled so far is kept"):
        list(map(ledger.add, verdicts))
    return len(ledger)


def test_a_full_disk_keeps_what_was_committed(tmp_path):
    with Ledger(tmp_path / "run.sqlite", KEY) as ledger:
        ledger._db.execute("PRAGMA max_page_count=100")  # SQLite then answers as on a full disk
        known = fill(ledger, 0)
        ledger._db.execute("PRAGMA max_page_count=200")  # space was freed: the same process may go on
        assert fill(ledger, known) > known > 5
    with Ledger(tmp_path / "run.sqlite", KEY) as again:
        assert set(again.verdicts()) == {f"{number:064d}/3" for number in range(len(again))}
        again.add(verdict("x"))


@pytest.fixture
def tiny_disk(tmp_path):
    """A file system of 600 kB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=600k", "tmpfs", str(disk)], capture_output=True)
    if mount.returncode:
        pytest.skip("needs the right to mount a tmpfs of 600 kB")
    yield disk
    subprocess.run(["umount", "--lazy", str(disk)], check=True)


def test_a_ledger_on_a_full_file_system_continues_once_there_is_space(tiny_disk):
    with Ledger(tiny_disk / "run.sqlite", KEY) as ledger:
        known = fill(ledger, 0)
    subprocess.run(["mount", "-o", "remount,size=4m", str(tiny_disk)], check=True)
    with Ledger(tiny_disk / "run.sqlite", KEY) as again:
        assert len(again) == known > 5
        for number in range(known, known + 50):
            again.add(verdict(f"{number:064d}", point=np.zeros((3, 32, 32), np.float32)))
        assert set(again.verdicts()) == {f"{number:064d}/3" for number in range(known + 50)}


def test_a_ledger_on_a_disk_without_any_space_is_one_clear_error(tiny_disk):
    (tiny_disk / "filler").write_bytes(bytes(600 * 1024))
    with pytest.raises(LedgerError, match=r"run\.sqlite: .*(full|disk I/O error|unable to open).*"):
        Ledger(tiny_disk / "run.sqlite", KEY)


def test_a_killed_process_loses_nothing_it_committed(tmp_path):
    path = tmp_path / "run.sqlite"
    script = textwrap.dedent(f"""
        import sys, time
        sys.path[:0] = {[os.path.dirname(__file__), os.path.dirname(os.path.dirname(__file__))]!r}
        from test_ledger import KEY, Ledger, verdict
        ledger = Ledger({str(path)!r}, KEY)
        for number in range(10**6):
            ledger.add(verdict(f"{{number:064d}}"))
            print(number, flush=True)
    """)
    process = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    last = [process.stdout.readline() for _ in range(50)][-1]
    process.send_signal(signal.SIGKILL)
    process.wait()
    with Ledger(path, KEY) as ledger:
        found = ledger.verdicts()
    assert set(found) >= {f"{number:064d}/3" for number in range(int(last) + 1)}


def test_two_processes_share_a_ledger(tmp_path):
    path = tmp_path / "run.sqlite"
    script = textwrap.dedent(f"""
        import sys
        sys.path[:0] = {[os.path.dirname(__file__), os.path.dirname(os.path.dirname(__file__))]!r}
        from test_ledger import KEY, Ledger, verdict
        with Ledger({str(path)!r}, KEY) as ledger:
            for number in range(int(sys.argv[1]), 300, 2):
                ledger.add(verdict(f"{{number:064d}}"))
            ledger.add(verdict("x", seconds=float(sys.argv[1])))
    """)
    both = [subprocess.Popen([sys.executable, "-c", script, start]) for start in "01"]
    assert [process.wait() for process in both] == [0, 0]
    with Ledger(path, KEY) as ledger:
        assert len(ledger) == 301


def test_opening_waits_for_another_process_that_opens(tmp_path, monkeypatch):
    path = tmp_path / "run.sqlite"
    other = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    other.execute("BEGIN IMMEDIATE")  # what a process does that is just creating the ledger
    monkeypatch.setattr(ledger, "WAIT", 0.1)
    with pytest.raises(LedgerError, match="database is locked.*Another process holds it"):
        Ledger(path, {"network": "x"})
    monkeypatch.setattr(ledger, "WAIT", 60.0)
    release = threading.Timer(0.3, other.execute, ["ROLLBACK"])
    release.start()
    with Ledger(path, {"network": "x"}) as book:
        assert len(book) == 0
    release.join()
    other.close()
