"""The exceptions users meet, and the one helper that words them.

Every message names the parameter or file, what was found, what is allowed and what to do next.
Commands turn any `WorkbenchError` into one line on stderr and exit code 2.
"""

from __future__ import annotations


class WorkbenchError(Exception):
    """Base of every error that is the input's fault and not a bug in nbutils."""


class ParameterError(WorkbenchError, ValueError):
    """A parameter outside what is allowed."""


class ImageError(WorkbenchError):
    """A missing, unreadable or inconsistent image source."""


class NetworkError(WorkbenchError):
    """A network file that cannot be opened, is no classifier, or disagrees with its twin."""


class BoundsError(WorkbenchError):
    """A network or a box that the bound methods cannot handle."""


class PropertyError(WorkbenchError):
    """Text that is no VNN-LIB property or counterexample this package can use."""


class LedgerError(WorkbenchError):
    """A ledger that is damaged, locked, or belongs to another run."""


class SelectionError(WorkbenchError):
    """A selection file that is damaged or about another network, or one that leaves nothing to draw."""


class ExportError(WorkbenchError):
    """An output folder that cannot be written, or written files that do not read back."""


class NotebookError(WorkbenchError):
    """A notebook with unknown parameters, without a parameter cell, or with a failing cell."""


def require(
    ok: bool,
    name: str,
    found: object,
    allowed: str,
    hint: str = "",
    *,
    error: type[WorkbenchError] = ParameterError,
) -> None:
    """Raise `error` unless `ok`.

    Args:
        ok: the condition that has to hold.
        name: parameter or file the message is about.
        found: the value received; shown with `repr`, shortened.
        allowed: what would have been accepted.
        hint: the next step for the reader, a sentence without its final stop.
        error: class of the exception.

    Raises:
        WorkbenchError: of class `error`, with name, value, allowed values and hint in one line.
    """
    if ok:
        return
    shown = repr(found)
    if len(shown) > 120:
        shown = shown[:117] + "..."
    raise error(f"{name}: found {shown}; allowed: {allowed}." + (f" {hint}." if hint else ""))
