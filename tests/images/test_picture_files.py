"""Single picture files: exact conversions, and formats that would lose something."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from image_toys import LEVELS, RNG, load_folder, save
from PIL import Image

import nbutils.images.picture_files
from nbutils.core import ImageError
from nbutils.images.picture_files import read_picture

# --- folders -----------------------------------------------------------------------------------------------------


# --- single files ------------------------------------------------------------------------------------------------


def png_chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png_of_size(width: int, height: int) -> bytes:
    """A file of a few bytes whose header promises `width` x `height` pixels."""
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + png_chunk(b"IHDR", header)
        + png_chunk(b"IDAT", zlib.compress(b""))
        + png_chunk(b"IEND", b"")
    )


def test_grey_and_palette_become_rgb(tmp_path: Path) -> None:
    picture = Image.fromarray(LEVELS[0, ..., 0])
    picture.save(tmp_path / "grey.png")
    assert (read_picture(tmp_path / "grey.png") == LEVELS[0, ..., 0]).all()
    picture.convert("P").save(tmp_path / "palette.png")
    assert (read_picture(tmp_path / "palette.png") == LEVELS[0, ..., 0]).all()


def test_truncated_image_names_the_file(tmp_path: Path) -> None:
    for suffix in ("png", "jpg"):
        whole = save(tmp_path / f"cat/whole.{suffix}", RNG.integers(0, 256, (32, 32, 3), dtype=np.uint8)).read_bytes()
        (tmp_path / f"cut.{suffix}").write_bytes(whole[: len(whole) // 2])
        with pytest.raises(ImageError, match=rf"cut.{suffix}: cannot be read .*allowed: an undamaged PNG or JPEG"):
            read_picture(tmp_path / f"cut.{suffix}")


def test_other_formats_are_not_decoded(tmp_path: Path) -> None:
    Image.fromarray(LEVELS[0]).save(tmp_path / "bitmap.png", format="BMP")
    with pytest.raises(ImageError, match=r"bitmap.png: cannot be read \(cannot identify"):
        read_picture(tmp_path / "bitmap.png")


def test_sixteen_bits_a_channel_are_refused(tmp_path: Path) -> None:
    """Pillow says RGB and keeps the upper eight bits: today read as 8 bits, without a word."""
    rows = b"".join(b"\0" + bytes(range(12)) for _ in range(2))  # 2 x 2 pixels, 3 channels of 2 bytes
    header = struct.pack(">IIBBBBB", 2, 2, 16, 2, 0, 0, 0)
    chunks = png_chunk(b"IHDR", header) + png_chunk(b"IDAT", zlib.compress(rows)) + png_chunk(b"IEND", b"")
    (tmp_path / "deep.png").write_bytes(b"\x89PNG\r\n\x1a\n" + chunks)
    with pytest.raises(ImageError, match="found 'Pillow mode RGB, 16 bits a channel'; allowed: 8-bit RGB or grey"):
        read_picture(tmp_path / "deep.png")


@pytest.mark.parametrize("bits", [1, 2, 4])
def test_few_bits_a_channel_convert_exactly(tmp_path: Path, bits: int) -> None:
    steps = 2**bits
    packed = int("".join(f"{k % steps:0{bits}b}" for k in range(8)), 2).to_bytes(bits, "big")
    header = struct.pack(">IIBBBBB", 8, 1, bits, 0, 0, 0, 0)
    body = png_chunk(b"IHDR", header) + png_chunk(b"IDAT", zlib.compress(b"\0" + packed)) + png_chunk(b"IEND", b"")
    (tmp_path / "few.png").write_bytes(b"\x89PNG\r\n\x1a\n" + body)
    wanted = [k % steps * 255 // (steps - 1) for k in range(8)]  # black to white in equal steps
    assert read_picture(tmp_path / "few.png")[:, 0].tolist() == [wanted] * 3


def test_several_pictures_in_a_file_are_refused(tmp_path: Path) -> None:
    """Today the first was taken, without a word."""
    frames = [Image.fromarray(frame) for frame in LEVELS[:3]]
    frames[0].save(tmp_path / "moving.png", save_all=True, append_images=frames[1:])
    with pytest.raises(ImageError, match="moving.png: found '3 pictures in one file'"):
        read_picture(tmp_path / "moving.png")


@pytest.mark.parametrize("turned", [1, 6])
def test_a_picture_stored_turned_is_refused(tmp_path: Path, turned: int) -> None:
    """Today read as it is stored, which is not what a viewer shows."""
    exif = Image.Exif()
    exif[0x0112] = turned
    Image.fromarray(LEVELS[0]).save(tmp_path / "a.jpg", exif=exif)
    if turned == 1:
        assert read_picture(tmp_path / "a.jpg").shape == (3, 5, 6)
        return
    with pytest.raises(ImageError, match="found 'EXIF orientation 6, a picture stored turned or mirrored'"):
        read_picture(tmp_path / "a.jpg")


def test_a_transparent_colour_is_refused(tmp_path: Path) -> None:
    Image.fromarray(LEVELS[0]).save(tmp_path / "a.png", transparency=(1, 2, 3))
    with pytest.raises(ImageError, match="found 'Pillow mode RGB, a transparent colour'"):
        read_picture(tmp_path / "a.png")


@pytest.mark.parametrize("mode", ["RGBA", "LA", "I;16", "CMYK"])
def test_modes_that_lose_something_are_refused(tmp_path: Path, mode: str) -> None:
    file = tmp_path / ("a.jpg" if mode == "CMYK" else "a.png")
    Image.new(mode, (4, 4)).save(file)
    with pytest.raises(ImageError, match="found 'Pillow mode .*allowed: 8-bit RGB or grey"):
        read_picture(file)


def test_decompression_bombs(tmp_path: Path) -> None:
    """Beyond our own side, and beyond Pillow's MAX_IMAGE_PIXELS."""
    (tmp_path / "wide.png").write_bytes(png_of_size(5000, 10))
    with pytest.raises(ImageError, match=r"wide.png: found '5000 x 10 pixels'; allowed: at most 4096 pixels a side"):
        read_picture(tmp_path / "wide.png")
    (tmp_path / "bomb.png").write_bytes(png_of_size(60_000, 60_000))
    with pytest.raises(ImageError, match=r"bomb.png: cannot be read .*decompression bomb"):
        read_picture(tmp_path / "bomb.png")


def test_too_many_images_for_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save(tmp_path / "cat" / "a.png")
    monkeypatch.setattr(nbutils.images.picture_files, "MAX_BYTES", 89)  # the image takes 90
    with pytest.raises(ImageError, match="cat: found '0.0 GiB'; allowed: at most"):
        load_folder(tmp_path)
