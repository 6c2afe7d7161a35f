"""Sentences about the networks of a zoo: what the tables and pictures of `zoo` say. Pure functions to Markdown."""

from __future__ import annotations

from collections.abc import Sequence

from ..networks import CLEAN, CROWN, PGD, figure_name
from ..zoo import Entry, Evaluation, Sample, plain, same_measure, same_radius, signed, title


def of_table(entries: Sequence[Entry]) -> str:
    """How many networks are here and measured, and how far each is from its published counterpart."""
    here = [entry for entry in entries if entry.file is not None]
    waiting = [entry for entry in entries if entry.file is None]
    text = f"{len(here)} of {len(entries)} networks {'is' if len(here) == 1 else 'are'} here"
    if waiting:
        text += f"; not trained yet: {', '.join(plain(entry.name) for entry in waiting)}"
    sentences = [text + "."]
    for entry in here:
        found = [(title(name), entry.difference(name)) for name in (CLEAN, PGD, CROWN)]
        parts = [f"{name} {signed(away)}" for name, away in found if away is not None]
        if parts:
            sentences.append(f"**{plain(entry.name)}**{_on(entry)}, in points from the published: {', '.join(parts)}.")
        elif entry.published is not None and any(entry.measured(name) for name in (CLEAN, PGD, CROWN)):
            sentences.append(
                f"**{plain(entry.name)}** was measured at another radius, or with another PGD, than the published one."
            )
        missing = [title(name) for name in (CLEAN, PGD, CROWN) if entry.measured(name) is None]
        if missing:
            sentences.append(
                f"The card of {plain(entry.name)} states no {', '.join(missing)} accuracy: "
                f"`python -m nbutils evaluate {entry.name} --images SOURCE --write-card` measures and notes it."
            )
    return " ".join(sentences)


def _on(entry: Entry) -> str:
    """How many images the entry's accuracies were measured on, where the card says it."""
    figures = [entry.measured(name) for name in (CLEAN, PGD, CROWN)]
    counts = sorted({figure.n for figure in figures if figure is not None and figure.n is not None})
    return f" on {' and '.join(f'{count:,}' for count in counts)} test images" if counts else ""


def of_zoo(entries: Sequence[Entry]) -> str:
    """Whether the published figures lie inside the measured intervals, and what that can mean."""
    inside: list[str] = []
    outside: list[str] = []
    for entry in entries:
        for name in (CLEAN, PGD, CROWN):
            figure, published = entry.measured(name), entry.published_accuracy(name)
            if figure is None or published is None or figure.low is None or figure.high is None:
                continue
            if entry.difference(name) is not None:
                here = f"{title(name)} of {plain(entry.name)}"
                (inside if figure.low <= published <= figure.high else outside).append(here)
    if not inside and not outside:
        return "Nothing is measured with an interval and published too, so there is nothing to compare yet."
    text = f"**{len(inside)} of {len(inside) + len(outside)}** published figures lie inside the measured 95 % interval"
    text += f": {', '.join(inside)}. " if inside else ". "
    return text + (
        "The interval says how far the share may be off for other images of the kind; it knows nothing of another "
        "training run, and the published hyper-parameters are unknown."
    )


def of_pools(entries: Sequence[Entry]) -> str:
    """How many images the published filter left for each draw, and how many are left here."""
    parts = [
        f"{plain(entry.name)} {entry.published.network.count} instances of {entry.published.pool:,} open images"
        for entry in entries
        if entry.published is not None
    ]
    text = f"Published: {', '.join(parts)}. " if parts else ""
    for entry in entries:
        pgd, crown = entry.measured(PGD), entry.measured(CROWN)
        if pgd is not None and crown is not None and same_radius(pgd.eps, crown.eps) and pgd.n == crown.n:
            text += f"**{plain(entry.name)}** leaves {pgd.value - crown.value:.2f} % open here. "
    return text + (
        "*Open* is PGD accuracy minus CROWN accuracy: neither broken by this attack nor proved by this bound. "
        "A large share is no praise of a network, only a supply of questions."
    )


def of_architectures(entries: Sequence[Entry]) -> str:
    """Whether the networks here are built like the published ones."""
    built = [entry for entry in entries if entry.as_published is not None]
    wrong = [plain(entry.name) for entry in built if not entry.as_published]
    others = [plain(entry.name) for entry in entries if entry.published is None]
    text = "No network here has a published counterpart." if not built else ""
    if built and not wrong:
        count = "Both" if len(built) == 2 else f"All {len(built)}"
        which = f"{count} networks of a published name" if len(built) > 1 else plain(built[0].name)
        text = f"**{which}: parameters and layers as published**, to the unit."
    if wrong:
        text = f"**Not built like the published network of the same name: {', '.join(wrong)}**; do not compare figures."
    if others:
        text += f" Without a published counterpart: {', '.join(others)}."
    return text + " The same architecture says nothing about the weights."


def of_sample(entries: Sequence[Entry], sample: Sample) -> str:
    """Whether each card's figures lie inside the intervals measured here."""
    cards = {entry.name: entry for entry in entries}
    lines = []
    for name, figures in sample.figures.items():
        inside: list[str] = []
        outside: list[str] = []
        silent: list[str] = []
        for key, figure in figures.items():
            card = cards[name].measured(key)
            if card is None or not same_measure(key, card, figure):
                silent.append(title(key))
                continue
            low, high = figure.low or 0.0, figure.high or 0.0
            text = f"{title(key)} {card.value:.2f} % ({low:.1f} to {high:.1f})"
            (inside if low <= card.value <= high else outside).append(text)
        parts = [f"inside the interval measured here: {', '.join(inside)}"] if inside else []
        parts += [f"**outside**: {', '.join(outside)}"] if outside else []
        parts += [f"the card states no {', '.join(silent)} with these settings"] if silent else []
        lines.append(f"- **{plain(name)}**, what its card says: {'; '.join(parts)}.")
    listed = "\n".join(lines)
    return f"{listed}\n\nOf {sample.images} images an interval is wide: it can contradict a card, hardly confirm it."


def of_costs(sample: Sample) -> str:
    """Which step costs most, an image, on this machine."""
    costs = {
        (name, step): seconds
        for name, found in sample.evaluations.items()
        for step, seconds in found.seconds.items()
        if seconds > 0
    }
    if not costs:
        return "No step was run."
    (name, step), most = max(costs.items(), key=lambda pair: pair[1])
    hours = {name: _hours(found) for name, found in sample.evaluations.items()}
    slowest = max(hours, key=lambda key: hours[key])
    which = f"{title(figure_name(step))} of {plain(name)}, {most:.2f} s"
    return (
        f"Most costly an image: **{which}**, on this machine and beside whatever else it does. At this rate all steps "
        f"on 10,000 such images take {plain(slowest)} about {hours[slowest]:.1f} h, each step only where those before "
        "left the image standing; the funnel of `select` needs less, as cheap tests decide most images."
    )


def _hours(found: Evaluation) -> float:
    """Hours of `evaluate` on 10,000 images of the kind: PGD on what is right, bounds on what survived PGD."""
    clean, pgd = (found.shares[step].percent / 100 for step in ("clean", "pgd"))
    bounds = sum(seconds for step, seconds in found.seconds.items() if step not in ("clean", "pgd"))
    return 10_000 * (found.seconds["clean"] + clean * found.seconds["pgd"] + pgd * bounds) / 3600
