"""Which rows alpha-CROWN optimises.

A row takes as many backward passes as there are steps. All 199 of an open image of TinyImageNet take fifteen times as
long as CROWN, and one or a few of them have a CROWN bound low enough to become the smallest in the end.
"""

from __future__ import annotations

from collections.abc import Callable

import torch

GROUP = 4
"""Rows optimised at once when only the smallest bound is wanted: most images need no second group."""


def raised(
    crown: torch.Tensor, optimise: Callable[[torch.Tensor], torch.Tensor], chunk: int, *, only_smallest: bool
) -> torch.Tensor:
    """`crown` [M], CROWN's lower bounds, each replaced by the optimised one where that is higher.

    With `only_smallest`, rows are optimised lowest first, and the others stay as they are once the lowest of them is
    not below the smallest bound reached: optimising never lowers a bound, so they cannot change the smallest.

    Args:
        optimise: lower bounds [R] of the rows whose numbers [R] it is given.
        chunk: rows at once at most, for memory.
    """
    best, smallest = crown.clone(), float("inf")
    known = torch.where(crown.isnan(), -torch.inf, crown)
    order = known.argsort(stable=True) if only_smallest else torch.arange(len(crown), device=crown.device)
    for rows in order.split(min(chunk, GROUP) if only_smallest else chunk):
        if only_smallest and float(known[rows[0]]) >= smallest:
            break
        best[rows] = torch.fmax(crown[rows], optimise(rows))
        smallest = min(smallest, float(best[rows].min()))
    return best
