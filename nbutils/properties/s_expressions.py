"""Text files of others, read with a bound on their size, and the S-expressions in them.

Everything read here is data: decompression is bounded, nesting costs no recursion, numbers are ASCII decimals.
"""

from __future__ import annotations

import gzip
import math
import re
import zlib
from pathlib import Path

from ..core import PropertyError

MAX_BYTES = 64 * 2**20
"""Largest text taken, in bytes after decompression; a 3 x 224 x 224 property has about 14 MB."""

# newline (for counting), parenthesis, comment, quoted name, word with an optional index, anything else
_TOKEN = re.compile(r"""\n|[()]|;[^\n]*|"[^"\n]*"|[^\s();"\[\]]+(?:[ \t]*\[[^\[\]\n]*\])?|\S""")
_NUMBER = re.compile(r"[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]{1,4})?")


class Form(list):
    """One parenthesised form: words and forms, and the line (from 1) where it opens."""

    __slots__ = ("line",)

    def __init__(self, line: int) -> None:
        super().__init__()
        self.line = line

    @property
    def head(self) -> str:
        """First word, empty if there is none."""
        return self[0] if self and isinstance(self[0], str) else ""


class Source:
    """A named text, parsed into top-level `forms`; it words errors by line.

    Raises:
        PropertyError: for unbalanced parentheses or words outside of any.
    """

    def __init__(self, text: str, name: str) -> None:
        self.text = text
        self.name = name
        self.forms = self._parse()

    def fail(self, line: int, allowed: str, hint: str = "") -> PropertyError:
        """The error for `line`: file, line, what stands there, what may."""
        lines = self.text.split("\n", line)
        found = lines[line - 1].strip() if line <= len(lines) else ""
        return fault(f"{self.name}, line {line}", found, allowed, hint)

    def _parse(self) -> list[Form]:
        top, line = Form(1), 1
        stack, here = [top], top
        for match in _TOKEN.finditer(self.text):
            token = match.group()
            if token == "(":
                form = Form(line)
                here.append(form)
                stack.append(form)
                here = form
            elif token == ")":
                if len(stack) == 1:
                    raise self.fail(line, "balanced parentheses", "This one closes nothing")
                stack.pop()
                here = stack[-1]
            elif token == "\n":
                line += 1
            elif token[0] == ";":
                continue
            elif here is top:
                raise self.fail(line, "forms in parentheses and comments", "Is this VNN-LIB text at all")
            else:
                here.append(token)
        if len(stack) > 1:
            raise self.fail(here.line, "balanced parentheses", "The one opened here is never closed")
        return list(top)


def fault(where: str, found: object, allowed: str, hint: str = "") -> PropertyError:
    """A `PropertyError` in the wording of `require`, for places where calling it for each number is too slow."""
    shown = repr(found)
    shown = shown if len(shown) <= 120 else shown[:117] + "..."
    return PropertyError(f"{where}: found {shown}; allowed: {allowed}." + (f" {hint}." if hint else ""))


def number(item: str | Form) -> float | None:
    """Value of `1`, `-0.5`, `1e-5` or `(- 0.5)`; None for everything else, NaN and infinity included."""
    sign = 1.0
    if type(item) is Form:
        if len(item) != 2 or item[0] != "-":
            return None
        sign, item = -1.0, item[1]
    if type(item) is not str or not _NUMBER.fullmatch(item):
        return None
    value = sign * float(item)
    return value if math.isfinite(value) else None


def read_file(path: Path | str, limit: int = MAX_BYTES) -> str:
    """Text of `path`, decompressed if it is gzip (told by its first bytes, not by its name).

    Raises:
        PropertyError: no such file, unreadable, truncated or damaged gzip, more than `limit` bytes, no text.
    """
    path = Path(path)
    try:
        with path.open("rb") as stream:
            packed = stream.read(2) == b"\x1f\x8b"
            stream.seek(0)
            data = (gzip.GzipFile(fileobj=stream) if packed else stream).read(limit + 1)
    except (EOFError, zlib.error, gzip.BadGzipFile) as problem:
        raise fault(str(path), str(problem), "a whole gzip file", "Fetch or write it again") from None
    except OSError as problem:
        raise fault(str(path), problem.strerror, "a readable VNN-LIB file", "Check the path") from None
    if len(data) > limit:
        raise fault(str(path), f"more than {limit:,} bytes of text", f"at most {limit:,}", "This is no image property")
    try:
        text = data.decode("utf-8-sig")  # a byte order mark in front is skipped
    except UnicodeDecodeError as problem:
        raise fault(str(path), f"byte {data[problem.start]:#04x}", "UTF-8 text", "This is no text file") from None
    if "\0" in text:
        raise fault(str(path), "zero bytes", "UTF-8 text", "This is no text file")
    return text
