"""Which rows alpha-CROWN optimises.

A row takes as many backward passes as there are steps. All 199 of an open image of TinyImageNet take fifteen times as
long as CROWN, and one or a few of them have a CROWN bound low enough to become the smallest in the end.
"""

from __future__ import annotations

from collections.abc import Callable

import torch

GROUP, FIRST = 32, 4
"""Rows optimised at once, and where only the smallest bound is wanted.

All at once take 0.9 of the time of 32, and cannot be cancelled in between. Of four, most images need no second group.
"""


def raised(
    crown: torch.Tensor,
    optimise: Callable[[torch.Tensor], torch.Tensor],
    chunk: int,
    *,
    only_smallest: bool,
    tell: Callable[[int, int], object] = lambda *_: None,
) -> torch.Tensor:
    """`crown` [M], CROWN's lower bounds, each replaced by the optimised one where that is higher.

    With `only_smallest`, rows are optimised lowest first, and the others stay as they are once the lowest of them is
    not below the smallest bound reached: optimising never lowers a bound, so they cannot change the smallest.

    Args:
        optimise: lower bounds [R] of the rows whose numbers [R] it is given.
        chunk: rows at once at most, for memory.
        tell: called before each group with the number of its last row and that of all; what it raises ends the work.
    """
    best, smallest = crown.clone(), float("inf")
    known = torch.where(crown.isnan(), -torch.inf, crown)
    order = known.argsort(stable=True) if only_smallest else torch.arange(len(crown), device=crown.device)
    done = 0
    for rows in order.split(min(chunk, FIRST if only_smallest else GROUP)):
        if only_smallest and float(known[rows[0]]) >= smallest:
            break
        done += len(rows)
        tell(done, len(crown))
        best[rows] = torch.fmax(crown[rows], optimise(rows))
        smallest = min(smallest, float(best[rows].min()))
    return best
