"""What the assertions on the outputs of a property ask: which classes are compared with which.

Two kinds are read. *Some rival*: a counterexample puts one of the named rivals level with the label or ahead; usual is
every other class, a targeted property names one. *One for all*: a counterexample puts one class level with or ahead of
a whole group, usually all others ("the argmax is j"); such text names no label, and the group's best class at the
middle of the box serves as one. Whoever proves that this class stays ahead of j has proved that there is no
counterexample.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from .s_expressions import Source, fault

ALLOWED = (
    "one `or` of `Y_j >= Y_label`, a term for each rival of one label, or `Y_j >= Y_k` for one class j and several k, "
    "all asserted together"
)

Logits = Callable[[np.ndarray], np.ndarray]
"""float32 [1, C, H, W], network input space -> float32 [1, K]."""


@dataclass(frozen=True)
class Claim:
    """Terms of one assertion, of which one has to hold."""

    line: int
    pairs: frozenset[tuple[int, int]]  # (rival, label): the first is level with the second or ahead


@dataclass(frozen=True)
class Question:
    """What the claims of one file say together; see `core.Property` for the fields."""

    label: int | None  # None where the text names none
    rivals: tuple[int, ...]  # ascending; empty: every class but the label
    group: tuple[int, ...] = ()  # ascending; what the one rival has to be level with or ahead of, all at once

    def labelled(self, middle: np.ndarray, logits: Logits | None, name: str) -> tuple[int, tuple[int, ...]]:
        """Label and group, the label looked up at `middle` [1, C, H, W] where the text names none.

        Raises:
            PropertyError: the text names no label, and there is no network to ask.
        """
        if self.label is not None:
            return self.label, ()
        if logits is None:
            found = f"a question whether class {self.rivals[0]} is ahead of {len(self.group)} others; it names no label"
            hint = "Open it with its network"
            raise fault(name, found, "a property of one label, where no network is given", hint)
        values = logits(middle)[0]
        return max(self.group, key=lambda k: float(values[k])), self.group


def question(claims: Sequence[Claim], source: Source, classes: int) -> Question:
    """The question that all `claims` of a file ask together.

    Raises:
        PropertyError: no claim, or one of another kind; names the line.
    """
    if not claims:
        raise fault(source.name, "no constraint on the outputs", ALLOWED)
    for claim in claims:
        for rival, label in claim.pairs:
            if rival == label:
                raise source.fail(claim.line, ALLOWED, f"Class {label} is compared with itself here")
    if len(claims) == 1:
        labels = {label for _, label in claims[0].pairs}
        if len(labels) != 1:
            hint = f"The terms here compare with {len(labels)} different classes, and one of them is enough"
            raise source.fail(claims[0].line, ALLOWED, hint)
        rivals = tuple(sorted(rival for rival, _ in claims[0].pairs))
        return Question(labels.pop(), rivals if len(rivals) < classes - 1 else ())
    second = claims[1].line
    if any(len(claim.pairs) != 1 for claim in claims):
        raise source.fail(second, ALLOWED, "The outputs are constrained a second time here")
    pairs = {pair for claim in claims for pair in claim.pairs}
    winners = {rival for rival, _ in pairs}
    if len(winners) != 1:
        raise source.fail(second, ALLOWED, f"Here {len(winners)} classes have to be ahead, all at once")
    group = tuple(sorted(label for _, label in pairs))
    if len(group) == 1:  # the same comparison twice
        return Question(group[0], tuple(winners) if classes > 2 else ())
    return Question(None, tuple(winners), group)
