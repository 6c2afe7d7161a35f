"""Text for terminals that cannot show all of it: a codec error handler that writes the nearest plain characters."""

from __future__ import annotations

import codecs
import unicodedata

PLAIN = "nbutils-plain"
"""Name of the error handler, for `sys.stdout.reconfigure(errors=PLAIN)`."""

_NEAREST = {
    "\N{HORIZONTAL ELLIPSIS}": "...",
    "\N{MINUS SIGN}": "-",
    "\N{EN DASH}": "-",
    "\N{EM DASH}": "-",
    "\N{MULTIPLICATION SIGN}": "x",
    "\N{MIDDLE DOT}": ".",
    "\N{RIGHTWARDS ARROW}": "->",
    "\N{LESS-THAN OR EQUAL TO}": "<=",
    "\N{GREATER-THAN OR EQUAL TO}": ">=",
    "\N{NOT EQUAL TO}": "!=",
    "\N{PLUS-MINUS SIGN}": "+-",
    "\N{GREEK SMALL LETTER EPSILON}": "eps",
    "\N{LEFT SINGLE QUOTATION MARK}": "'",
    "\N{RIGHT SINGLE QUOTATION MARK}": "'",
    "\N{LEFT DOUBLE QUOTATION MARK}": '"',
    "\N{RIGHT DOUBLE QUOTATION MARK}": '"',
}


def plain(text: str) -> str:
    """`text` in ASCII: the nearest characters, letters without their accents, `?` for the rest."""
    parts = (_NEAREST.get(letter) or unicodedata.normalize("NFKD", letter) for letter in text)
    return "".join(letter.encode("ascii", "ignore").decode() for part in parts for letter in part) or "?" * len(text)


def _replace(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    letters = error.object[error.start : error.end]
    return "".join(map(plain, letters)), error.end


codecs.register_error(PLAIN, _replace)
