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
    return "".join(map(_nearest, text))


def _nearest(letter: str) -> str:
    base = unicodedata.normalize("NFD", letter)[0]  # not NFKD, by which a half is 12 and ten squared 102
    return _NEAREST.get(letter) or (base if base.isascii() else "?")


def _replace(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    letters = error.object[error.start : error.end]
    return plain(letters), error.end


codecs.register_error(PLAIN, _replace)
