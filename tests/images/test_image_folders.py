"""Folders of pictures: by class, or with a table of labels."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from image_toys import LEVELS, NAMES, RNG, load_folder, save

from nbutils.core import ImageError, Normalization, ParameterError
from nbutils.images import CIFAR100, load_images

GREY = LEVELS[..., 0]


# --- folders -----------------------------------------------------------------------------------------------------


def test_class_folders(tmp_path: Path) -> None:
    save(tmp_path / "owl" / "b.png", LEVELS[2])
    save(tmp_path / "owl" / "a.PNG", LEVELS[1])
    save(tmp_path / "cat" / "z.png", LEVELS[0])
    (tmp_path / "dog").mkdir()  # today: became class 1 of three, and owl class 2
    (tmp_path / "owl" / "notes.txt").write_text("no image")
    save(tmp_path / ".ipynb_checkpoints" / "a.png")
    images = load_folder(tmp_path)
    assert images.class_names == ("cat", "owl")
    assert images.labels.tolist() == [0, 1, 1]
    assert images.origin.notes == ("left out without a picture: dog",)
    assert images.origin.classes == "the 2 folders, 0 is cat and 1 is owl"
    assert (images.levels == LEVELS[:3].transpose(0, 3, 1, 2)).all()
    assert images.source == f"folder/{tmp_path.name}"
    assert load_folder(tmp_path, class_names=("owl", "ant", "cat", "dog")).labels.tolist() == [2, 0, 0]


def test_class_folders_of_a_data_set(tmp_path: Path) -> None:
    save(tmp_path / "apple" / "1.png", RNG.integers(0, 256, (32, 32, 3), dtype=np.uint8))
    save(tmp_path / "worm" / "1.png", RNG.integers(0, 256, (32, 32, 3), dtype=np.uint8))
    images = load_images("folder", path=tmp_path, dataset="cifar100")
    assert images.labels.tolist() == [0, 99]
    assert images.normalization == CIFAR100.normalization


# folders with a picture each (empty ones end in /): labels in the order read, class names, what is said
CLASS_FOLDERS = {
    # today: 0, 1, 10, 11, 2, 3, ... as text, so folder 10 was class 2
    "numbers": ([str(k) for k in range(12)], list(range(12)), [f"class {k}" for k in range(12)], "the numbers that"),
    # today: classes 0 to 3
    "numbers with a gap": (["0", "2", "10"], [0, 2, 10], [f"class {k}" for k in range(11)], "the numbers that"),
    "an empty number": (["0", "1/", "2"], [0, 2], ["class 0", "class 1", "class 2"], "the numbers that"),
    "zeros before": (["00", "01", "10"], [0, 1, 10], [f"class {k}" for k in range(11)], "the numbers that"),
    "from one": (["1", "2", "10", *"3456789"], list(range(10)), [str(k) for k in range(1, 11)], "0 is folder 1"),
    # today: class 1, class 10, class 2
    "numbers in names": (["class 2", "class 10", "class 1"], [0, 1, 2], ["class 1", "class 2", "class 10"],
                         "numbers in names sorted as numbers"),
    "names": (["owl", "Cat", "ant"], [0, 1, 2], ["Cat", "ant", "owl"], "the 3 folders, 0 is Cat and 2 is owl"),
    "mixed": (["other", "7", "12"], [0, 1, 2], ["7", "12", "other"], "numbers in names sorted as numbers"),
    "an empty name": (["owl", "cat", "__MACOSX/"], [0, 1], ["cat", "owl"], "the 2 folders"),
}  # fmt: skip


@pytest.mark.parametrize("case", CLASS_FOLDERS)
def test_class_folders_without_known_names(tmp_path: Path, case: str) -> None:
    names, labels, classes, said = CLASS_FOLDERS[case]
    for place, name in enumerate(names):
        if name.endswith("/"):
            (tmp_path / name).mkdir()
        else:
            save(tmp_path / name / "a.png", np.full((2, 2, 3), place, np.uint8))
    images = load_folder(tmp_path)
    assert images.labels.tolist() == labels
    assert list(images.class_names) == classes
    assert said in images.origin.classes


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["3", "7"], r"class folders: found \[3, 7\]; allowed: names, or numbers from 0 on, or 1, 2, 3"),
        (["1", "01", "0"], r"class folders: found \['0', '01', '1'\]; allowed: each number once"),
        (["0", "999999999"], r"largest label: found 999999999; allowed: 0 to 99999"),
    ],
)
def test_class_folders_that_could_mean_two_things(tmp_path: Path, names: list[str], message: str) -> None:
    for name in names:
        save(tmp_path / name / "a.png")
    with pytest.raises(ImageError, match=message):
        load_folder(tmp_path)


def test_what_is_left_out_of_a_folder_is_said(tmp_path: Path) -> None:
    save(tmp_path / "cat" / "a.png")
    save(tmp_path / "loose.png")
    save(tmp_path / "cat" / "b.bmp")
    save(tmp_path / "nested" / "deeper" / "c.png")
    assert load_folder(tmp_path).origin.notes == (
        "left out without a picture: nested",
        "left out outside of class folders: 1 pictures",
        "left out, neither PNG nor JPEG: 1 files",
    )
    (tmp_path / "cat" / "a.png").unlink()
    with pytest.raises(ImageError, match="found 'no images'.*Class folders are one level down: give .*nested"):
        load_folder(tmp_path)


def test_a_folder_of_grey_pictures_is_one_channel_where_one_is_normalised(tmp_path: Path) -> None:
    save(tmp_path / "cat" / "a.png", GREY[0])
    images = load_folder(tmp_path, normalization=Normalization((0.5,), (0.25,)))
    assert (images.levels == GREY[:1, None]).all()
    save(tmp_path / "cat" / "b.png", LEVELS[1])
    with pytest.raises(ImageError, match="pictures: found 'colours'; allowed: grey ones, as one channel is normalised"):
        load_folder(tmp_path, normalization=Normalization((0.5,), (0.25,)))


def test_labels_csv_without_known_names(tmp_path: Path) -> None:
    save(tmp_path / "a.png")
    save(tmp_path / "b.png")
    write_table(tmp_path, "a.png,2", "b.png,0")
    assert load_folder(tmp_path).class_names == ("class 0", "class 1", "class 2")
    write_table(tmp_path, "a.png,owl", "b.png,cat")
    images = load_folder(tmp_path)
    assert images.labels.tolist() == [1, 0]
    assert images.origin.classes == "the 2 names of labels.csv, 0 is cat and 1 is owl"


def write_table(folder: Path, *rows: str, header: str = "file,label") -> None:
    (folder / "labels.csv").write_text("\n".join([header, *rows]) + "\n")


def test_labels_csv(tmp_path: Path) -> None:
    save(tmp_path / "b.png", LEVELS[0])
    save(tmp_path / "sub" / "a.png", LEVELS[1])
    write_table(tmp_path, "sub/a.png,2", "b.png,dog")
    images = load_folder(tmp_path, class_names=NAMES)
    assert images.labels.tolist() == [2, 1]
    assert (images.levels == LEVELS[[1, 0]].transpose(0, 3, 1, 2)).all()
    with pytest.raises(ParameterError, match="class_names: found None"):
        load_folder(tmp_path)


@pytest.mark.parametrize("name", ["../outside.png", "/outside.png", "link.png", "sub/../../outside.png", "circle.png"])
def test_labels_csv_stays_in_its_folder(tmp_path: Path, name: str) -> None:
    outside = save(tmp_path / "outside.png")
    inner = tmp_path / "inner"
    save(inner / "a.png")
    (inner / "link.png").symlink_to(outside)
    (inner / "circle.png").symlink_to(inner / "circle.png")
    write_table(inner, "a.png,0", f"{name},1")
    with pytest.raises(ImageError, match="found 'a path that leaves the folder'; allowed: files inside"):
        load_folder(inner, class_names=NAMES)


@pytest.mark.parametrize(
    ("rows", "header", "message"),
    [
        (["a.png,3"], "file,label", "label of .*a.png: found '3'; allowed: one of 3 class names, or 0 to 2"),
        (["a.png,-1"], "file,label", "label of .*a.png: found '-1'"),
        (["a.png,bat"], "file,label", "label of .*a.png: found 'bat'"),
        (["a.png," + "9" * 5000], "file,label", "label of .*a.png: found '9999"),
        (["a.png"], "file,label", "labels.csv row 2: found .* allowed: a file and a label"),
        (["a.png,0"], "name,class", r"labels.csv header: found \['name', 'class'\]; allowed: file,label"),
        (['"a.png,0'], "file,label", "labels.csv: cannot be read .*allowed: UTF-8 CSV"),
        ([], "file,label", "found 'no images'; allowed: PNG or JPEG files"),
        (["gone.png,0"], "file,label", "gone.png: found 'no such file'"),
    ],
)
def test_labels_csv_refuses(tmp_path: Path, rows: list[str], header: str, message: str) -> None:
    save(tmp_path / "a.png")
    write_table(tmp_path, *rows, header=header)
    with pytest.raises(ImageError, match=message):
        load_folder(tmp_path, class_names=NAMES)


def test_labels_csv_not_utf8(tmp_path: Path) -> None:
    (tmp_path / "labels.csv").write_bytes(b"file,label\n\xff\xfe.png,0\n")
    with pytest.raises(ImageError, match="labels.csv: cannot be read"):
        load_folder(tmp_path, class_names=NAMES)


def test_folder_missing_or_empty(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="nowhere: found 'no such folder'"):
        load_folder(tmp_path / "nowhere")
    with pytest.raises(ImageError, match=r"found 'no images'.*Put images into ROOT/CLASS/, or list them"):
        load_folder(tmp_path)


def test_folder_of_unknown_class(tmp_path: Path) -> None:
    save(tmp_path / "bat" / "1.png")
    with pytest.raises(ImageError, match="label of .*1.png: found 'bat'; allowed: one of 3 class names"):
        load_folder(tmp_path, class_names=NAMES)


def test_mixed_sizes_name_the_file(tmp_path: Path) -> None:
    save(tmp_path / "cat" / "a.png")
    save(tmp_path / "cat" / "b.png", LEVELS[0, :, :4])
    with pytest.raises(ImageError, match=r"b.png: found '4 x 5 pixels'; allowed: 6 x 5 pixels, as a.png has"):
        load_folder(tmp_path)
