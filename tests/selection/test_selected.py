"""Selection files: what is written reads back the same, and whatever else stands there is refused by line."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nbutils.core import AttackConfig, Normalization, SelectionConfig, SelectionError, Verdict
from nbutils.selection import Selection, make_selection, read_selection, write_selected
from nbutils.selection.selection_writing import COLUMNS

CIFAR = Normalization((0.5071, 0.4865, 0.4409), (0.2673, 0.2564, 0.2761))
CONFIG = SelectionConfig(eps=2 / 255)
NETWORK = SimpleNamespace(
    name="toy", classes=100, input_shape=(3, 32, 32), card=SimpleNamespace(sha256="ab" * 32, dataset="cifar100")
)


def verdict(index: int, status: str, attack: float | None, bound: float | None, *, image: int | None = None) -> Verdict:
    method = None if bound is None else "crown"
    number = index if image is None else image
    return Verdict(f"{number:064x}", index, index % 100, 0, status, "full attack", 1.5, attack, 3, 40, bound, method)


VERDICTS = [
    verdict(7, "open", float(np.float32(0.1)), -0.25),
    verdict(3, "attacked", -0.5, None),
    verdict(12, "verified", 2.0, 0.3),
    verdict(1, "misclassified", None, None),
    verdict(20, "attacked", 0.0, -1e-05),
]


def write(folder: Path, verdicts: list[Verdict] = VERDICTS) -> tuple[Path, Selection]:
    path = folder / "vnnlib" / "selected" / "toy.csv"
    return path, write_selected(path, NETWORK, verdicts, CONFIG, CIFAR, "cifar100/test")


def test_the_file_to_the_letter(tmp_path: Path) -> None:
    """Sorted by index; open and attacked images only; numbers in full; the rest as counts."""
    lines = write(tmp_path)[0].read_text().splitlines()
    assert lines[0] == '# format: "nbutils selection, 1"'
    assert lines[1].startswith('# network: {"classes": 100, "dataset": "cifar100", "input_shape": [3, 32, 32]')
    assert lines[5] == '# counts: {"attacked": 2, "misclassified": 1, "open": 1, "verified": 1}'
    assert lines[7] == ",".join(COLUMNS)
    assert lines[8:] == [
        f"{3:064x},3,3,attacked,full attack,1.5,-0.5,,,",
        f"{7:064x},7,7,open,full attack,1.5,0.10000000149011612,-0.25,crown,0.3500000014901161",
        f"{20:064x},20,20,attacked,full attack,1.5,0.0,-1e-05,crown,1e-05",
    ]


def test_what_is_written_reads_back(tmp_path: Path) -> None:
    path, written = write(tmp_path)
    read = read_selection(path, "ab" * 32)
    assert read.text() == written.text() == path.read_text()
    assert read.eps == 2 / 255
    assert read.normalization == CIFAR
    assert read.settings == CONFIG.as_dict()
    assert [v.index for v in read.of("open")] == [7]
    assert read.verdicts[1].hardness == VERDICTS[0].hardness
    assert read.sha256 == written.sha256
    assert [entry.name for entry in path.parent.iterdir()] == ["toy.csv"]


def test_order_of_the_verdicts_does_not_matter(tmp_path: Path) -> None:
    assert make_selection(NETWORK, VERDICTS[::-1], CONFIG, CIFAR, "x").text() == (
        make_selection(NETWORK, VERDICTS, CONFIG, CIFAR, "x").text()
    )


def test_an_image_that_stands_twice_counts_once() -> None:
    """Same pixels and same label at 7 and 107; with another label (8) it is another image."""
    again = verdict(107, "open", 0.5, -0.25, image=7)
    other = verdict(8, "open", 0.5, -0.25, image=7)
    selection = make_selection(NETWORK, [again, VERDICTS[0], other], CONFIG, CIFAR, "x")
    assert [v.index for v in selection.verdicts] == [7, 8]
    assert selection.counts["open"] == 2


def test_settings_of_a_second_stage_are_kept(tmp_path: Path) -> None:
    path = tmp_path / "toy.csv"
    write_selected(path, NETWORK, VERDICTS, CONFIG, CIFAR, "x", strong=AttackConfig(steps=7))
    assert read_selection(path).settings["strong"]["steps"] == 7


@given(
    st.lists(
        st.tuples(st.floats(-50, 50, width=32), st.floats(-50, 50, width=32), st.integers(0, 9999)),
        min_size=1,
        max_size=20,
        unique_by=lambda row: row[2],
    )
)
@settings(max_examples=40, deadline=None)
def test_any_numbers_read_back_bit_for_bit(tmp_path_factory: pytest.TempPathFactory, rows: list) -> None:
    verdicts = [verdict(i, "open" if attack > 0 else "attacked", attack, bound) for attack, bound, i in rows]
    path, _ = write(tmp_path_factory.mktemp("any"), verdicts)
    found = {v.index: (v.attack_margin, v.bound) for v in read_selection(path).verdicts}
    assert found == {i: (attack, bound) for attack, bound, i in rows}


def replaced(old: str, new: str):
    return lambda text: text.replace(old, new, 1)


DAMAGES = {
    "another format": (replaced("selection, 1", "selection, 9"), r"toy.csv, line 1: .*nbutils selection, 1"),
    "no header": (lambda text: text.split("packages")[0][:-2], r"toy.csv, line 7: found 'the end of the file'"),
    "no JSON": (replaced('# network: {"', "# network: {"), r"toy.csv, line 2: .*`# network: ` and JSON"),
    "no radius": (replaced('"eps"', '"epsilon"'), r"toy.csv: found a header .*'eps'.* Restore the file"),
    "a radius of 2": (replaced('"eps": 0.00784313725490196', '"eps": 2'), r"header .*eps: found 2"),
    "list for counts": (replaced('{"attacked": 2, "misclassified": 1, "open": 1, "verified": 1}', "[]"), r"header"),
    "more in the header": (replaced('{"classes"', '{"more": 1, "classes"'), r"found 'a header with other entries'"),
    "no columns": (replaced("image_id,index", "index,image_id"), r"toy.csv, line 8: .*image_id,index"),
    "truncated": (lambda text: text[:-30], r"toy.csv, line 11: .*the columns image_id"),
    "rows missing": (lambda text: text[: text.rindex("\n", 0, -1) + 1], r"attacked rows: found 1; allowed: 2"),
    "another number": (replaced("1.5,-0.5", "1.5,-0.50"), r"toy.csv, line 9: .*a line that agrees with itself"),
    "wrong hardness": (replaced("0.35000000", "0.36000000"), r"toy.csv, line 10: .*agrees with itself"),
    "NaN": (replaced("1.5,-0.5", "nan,-0.5"), r"toy.csv, line 9: .*finite numbers"),
    "words for numbers": (replaced("1.5,-0.5", "1.5,low"), r"toy.csv, line 9: .*margins and bounds as numbers"),
    "open but broken": (replaced("attacked,full", "open,full"), r"toy.csv, line 9: .*at most 0 where attacked"),
    "verified": (replaced("7,open", "7,verified"), r"toy.csv, line 10: .*the columns"),
    "no hash": (replaced(f"{3:064x}", "3"), r"toy.csv, line 9: .*the columns"),
    "label too large": (replaced(",3,3,", ",3,100,"), r"toy.csv, line 9: .*labels below 100"),
    "order": (replaced(",3,3,", ",33,3,"), r"toy.csv, line 10: .*ascending order"),
    "image twice": (
        lambda text: text.replace(f"{20:064x},20,20,", f"{3:064x},20,3,"),
        r"toy.csv: found 'an image twice'",
    ),
    "not ASCII": (replaced("full attack", "full attäck"), r"toy.csv: cannot be read .*ASCII"),
    "empty": (lambda text: "", r"toy.csv, line 1: found 'the end of the file'"),
}


@pytest.mark.parametrize(("damage", "message"), DAMAGES.values(), ids=DAMAGES)
def test_damaged_files_are_refused_by_line(tmp_path: Path, damage, message: str) -> None:
    path, _ = write(tmp_path)
    text = damage(path.read_text())
    assert text != path.read_text()
    path.write_text(text, encoding="utf-8")
    with pytest.raises(SelectionError, match=message):
        read_selection(path)


def test_a_selection_of_another_network_is_refused(tmp_path: Path) -> None:
    path, _ = write(tmp_path)
    with pytest.raises(
        SelectionError, match=r"toy.csv: found 'verdicts about the network file abab.*; allowed: the fi"
    ):
        read_selection(path, "cd" * 32)


def test_a_missing_file_says_how_to_record_one(tmp_path: Path) -> None:
    with pytest.raises(SelectionError, match=r"toy.csv: found 'no such file'.*python -m nbutils select NETWORK"):
        read_selection(tmp_path / "toy.csv")


def test_nothing_half_written_remains(tmp_path: Path) -> None:
    (tmp_path / "toy.csv").mkdir()
    with pytest.raises(SelectionError, match=r"toy.csv: cannot be written \(Is a directory\)"):
        write_selected(tmp_path / "toy.csv", NETWORK, VERDICTS, CONFIG, CIFAR, "x")
    assert [entry.name for entry in tmp_path.iterdir()] == ["toy.csv"]
    with pytest.raises(SelectionError, match="verdicts: found 0; allowed: those of at least one image"):
        write_selected(tmp_path / "other.csv", NETWORK, [], CONFIG, CIFAR, "x")


def test_a_real_network_fits(two_neuron, tmp_path: Path) -> None:
    """`networks.Network` has what a selection asks of it."""
    verdicts = [dataclasses.replace(VERDICTS[0], label=1)]
    write_selected(tmp_path / "t.csv", two_neuron, verdicts, CONFIG, Normalization((0.5,), (0.5,)), "x")
    assert read_selection(tmp_path / "t.csv", two_neuron.card.sha256).classes == 3
