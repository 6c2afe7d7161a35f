"""One sentence under a figure: what its numbers say. Pure functions from records to Markdown text.

The wording keeps the contract of the statuses: "not attacked" is never called robust, "not verified" never unsafe.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..analysis import RadiusCurve, Slice
from ..benchmark import AuditReport, generation
from ..core import AttackTrace, Box, ImageSet, MarginBounds, Margins, Verdict
from ..properties import Replay
from ..published import PublishedReport
from ..selection import Selection, count_statuses


def of_sample(images: ImageSet, margins: Margins) -> str:
    """What share of the images is classified correctly, and by which margins."""
    correct = margins.predicted == images.labels
    text = f"**{correct.sum()} of {len(images)} images are classified correctly**"
    if not correct.any():
        return text + "; only such images can become properties, so nothing is left to look at."
    won = margins.smallest[correct]
    return text + (
        f", by margins from {won.min():.2f} to {won.max():.2f} logits (median {np.median(won):.2f}). "
        "Only these go on; a wrong answer needs no attack."
    )


def of_margins(images: ImageSet, margins: Margins, row: int) -> str:
    """Who is the strongest rival of one image, and how many are near."""
    rival = int(margins.rivals[row, margins.values[row].argmin()])
    smallest, near = float(margins.smallest[row]), int((margins.values[row] < 1).sum())
    verb = "leads" if smallest > 0 else "trails"
    return (
        f"Image {images.indices[row]} (**{images.name_of(images.labels[row])}**): the true class {verb} its strongest "
        f"rival, {images.name_of(rival)}, by {abs(smallest):.2f} logits; {near} of {margins.values.shape[1]} rivals "
        "are closer than 1 logit."
    )


def of_attack(images: ImageSet, margins: Margins, trace: AttackTrace, row: int, eps_255: float) -> str:
    """How far PGD lowered the margin of image `row`; `trace` holds that image alone."""
    lowest = trace.margins[0]
    per_restart = np.nanmin(lowest, axis=0)
    found, restarts = int((per_restart <= 0).sum()), lowest.shape[1]
    text = (
        f"From {margins.smallest[row]:.2f} logits at the image itself, PGD gets down to **{trace.smallest[0]:.2f}** "
        f"within {eps_255:g}/255; the lowest margins of its {restarts} restarts lie between "
        f"{per_restart.min():.2f} and {per_restart.max():.2f}. "
    )
    if not trace.success[0]:
        return text + "No counterexample was found, which proves nothing: the bounds have to."
    rival = int(trace.rivals[0, trace.values[0].argmin()])
    step = int(np.argmax((lowest <= 0).any(axis=1)))
    return text + (
        f"{found} of them find a counterexample, the first at step {step}: the network answers "
        f"{images.name_of(rival)} (judged by onnxruntime on the ONNX file)."
    )


def of_slice(plane: Slice) -> str:
    """How much of the plane shown is beyond the decision boundary, and what the plane can say."""
    share = float((plane.margins <= 0).mean())
    beyond = f"A rival is level or ahead on {share:.1%} of it" if share else "No point of it has a rival ahead"
    return (
        f"{beyond}; the lowest margin on the plane is {plane.margins.min():.2f} logits. The plane is two of "
        "thousands of dimensions: it can show a counterexample, never rule one out."
    )


def of_card(box: Box, trace: AttackTrace) -> str:
    """Where in the box the attack's lowest point lies."""
    point = trace.points[0]
    edge = float(((point == box.lower[0]) | (point == box.upper[0])).mean())
    return f"{edge:.0%} of its values lie on a face of the box: the attack uses nearly all the room it is given."


def of_verdicts(verdicts: Sequence[Verdict]) -> str:
    """Which open image is the hardest: the widest gap between attack and bound."""
    left = [verdict for verdict in verdicts if verdict.hardness is not None and verdict.status == "open"]
    if not left:
        return "No image is open at this radius."
    hardest = max(left, key=lambda verdict: verdict.hardness or 0)
    return (
        f"The widest gap among the open images is that of image {hardest.index}: PGD reaches "
        f"{hardest.attack_margin:.2f}, {hardest.bound_method} proves {hardest.bound:.2f} logits."
    )


def of_bounds(bounds: Sequence[MarginBounds], trace: AttackTrace) -> str:
    """What each method proves about one image, and what stays open between bounds and attack."""
    rivals = bounds[0].lower.shape[1]
    proved = ", ".join(f"{b.method} {int((b.lower[0] > b.tolerance).sum())}" for b in bounds)
    best = max(bounds, key=lambda b: float(b.smallest[0]))
    text = f"Rivals proved to stay behind all over the box, of {rivals}: {proved}. "
    if trace.success[0]:
        return text + "PGD broke this image, so no sound method can prove all of them."
    if best.verified[0]:
        return text + f"**{best.method} proves the image robust**: its weakest bound is {best.smallest[0]:.2f} logits."
    return text + (
        f"The true minimum of the margin lies between {best.smallest[0]:.2f} ({best.method}) and "
        f"{trace.smallest[0]:.2f} (PGD): **open** to these methods, a task for a complete verifier."
    )


def of_layers(bounds: Sequence[MarginBounds]) -> str:
    """Where the bounds of one image become loose."""
    texts, neurons = [], 0
    for b in bounds:
        if b.layers:
            last = b.layers[-1]
            neurons = sum(layer.neurons for layer in b.layers)
            unstable = sum(layer.neurons * float(layer.unstable[0]) for layer in b.layers)
            texts.append(f"{b.method} {unstable / neurons:.1%} (mean width in the last layer {last.width[0]:.3g})")
    return (
        f"Share of the {neurons:,} neurons before a ReLU that stay unstable: {', '.join(texts)}. Every unstable "
        "neuron costs a relaxation, and what it loses is multiplied from layer to layer."
    )


def of_radius(curve: RadiusCurve, method: str) -> str:
    """Where one image stops being certified and where it is first broken."""
    certified, attacked = curve.certified_radius(method) * 255, curve.attacked_radius() * 255
    tried = curve.eps[-1] * 255
    broken = (
        f"PGD breaks it from {attacked:.2f}/255 on" if np.isfinite(attacked) else f"PGD fails up to {tried:.2f}/255"
    )
    return (
        f"Of the radii tried, {method} proves this image up to **{certified:.2f}/255**, and {broken}. "
        "What lies between, neither side decides."
    )


def of_radii(curves: Sequence[RadiusCurve], method: str) -> str:
    """How wide the open interval between certified and attacked radius is."""
    pairs = [(curve.certified_radius(method) * 255, curve.attacked_radius() * 255) for curve in curves]
    certified = np.median([low for low, _ in pairs])
    broken = [high for _, high in pairs if np.isfinite(high)]
    text = f"Median certified radius with {method}: **{certified:.2f}/255**"
    if broken:
        text += f"; PGD breaks {len(broken)} of {len(curves)}, the median of them at **{np.median(broken):.2f}/255**"
    else:
        text += f"; PGD breaks none of {len(curves)} at the radii tried"
    return text + ". Between the two lies what neither side decides, and what the benchmark is made of."


def of_funnel(verdicts: Sequence[Verdict]) -> str:
    """How many images each status has."""
    counts = count_statuses(verdicts)
    total = len(verdicts)
    parts = ", ".join(f"{status} {count} ({count / total:.0%})" for status, count in counts.items())
    text = f"Of {total} images: {parts}. "
    if counts["open"]:
        return text + f"The **{counts['open']} open** ones are what a benchmark asks complete verifiers about."
    return text + "**None is open**: there is nothing to export at this radius; a larger `EPS_255` opens some."


def of_audit(report: AuditReport) -> str:
    """The audit as a table, a row a check, and what failed, file by file."""
    failed = len(report.failures)
    head = (
        f"**{failed} failure{'s' if failed > 1 else ''}**, listed below the table; do not publish this folder."
        if failed
        else f"**Nothing was found wrong** with {report.instances} instances."
    )
    rows = []
    for check in report.checks:
        result = str(len(check.failures)) if check.failures else "none" if check.count else ""
        rows.append(f"| {check.question} | {check.count or 'nothing to check'} | {result} |")
    listed = [f"- {failure}" for failure in report.failures[:50]]
    more = [f"- and {failed - 50} more"] if failed > 50 else []
    return "\n".join([head, "", "| check | things checked | failures |", "|---|---|---|", *rows, "", *listed, *more])


def of_draw(drawn: Sequence[Verdict], pool: Sequence[Verdict], planned: int, levels: Sequence[str] = ()) -> str:
    """How many of the candidates were drawn, and whether they are as hard as all.

    Args:
        planned: instances that were wanted.
        levels: easy, middle or hard of each that was drawn, in mode stratified.
    """
    left, mine = ([v for v in group if v.status == "open"] for group in (pool, drawn))
    attackable, known = (sum(v.status == "attacked" for v in group) for group in (drawn, pool))
    mixed = f" Put among them: {attackable} of {known} attackable images." if attackable else ""
    text = f"**{len(mine)} of {len(left)} open images** were drawn"
    if len(mine) == len(left):
        wanted = f" ({planned} instances were planned)" if len(drawn) < planned else ""
        return f"{text}: all there are{wanted}, whatever the seed.{mixed}"
    if not mine:
        return f"{text}.{mixed}"
    gaps = [float(np.median([v.hardness for v in group if v.hardness is not None])) for group in (mine, left)]
    text = f"{text}. Their median gap is {gaps[0]:.2f} logits, that of all open images {gaps[1]:.2f}"
    if levels:
        parts = ", ".join(f"{levels.count(level)} {level}" for level in generation.LEVELS if level in levels)
        return f"{text}. By hardness: {parts}; easy ones are proved by alpha-CROWN."
    return f"{text}: the draw does not ask which images are hard, and another seed gives another mixture.{mixed}"


def of_selection(selection: Selection) -> str:
    """What became of a whole set of images, by the counts that a selection keeps."""
    total, eps = sum(selection.counts.values()), selection.eps * 255
    parts = ", ".join(f"{status} {count} ({count / total:.1%})" for status, count in selection.counts.items())
    attack = selection.settings["attack"]
    return (
        f"{total} images of {selection.source} at {eps:.4g}/255, PGD of {attack['steps']} steps x {attack['restarts']} "
        f"restarts, bounds by {selection.settings['bounds']['method']}: {parts}. Only **open** images become instances "
        "in the modes `hard` and `stratified`; in mode `mixed` some attacked ones are put among them, to catch "
        "verifiers that prove too much."
    )


def of_descent(margins: Margins, trace: AttackTrace, names: Sequence[str]) -> str:
    """How far PGD lowered the margin of the one image in `margins` and `trace`."""
    lowest = np.nanmin(trace.margins[0], axis=0)
    rival = names[int(trace.rivals[0, trace.values[0].argmin()])].replace("_", " ")
    text = (
        f"From {margins.smallest[0]:.2f} logits at the centre PGD gets down to **{trace.smallest[0]:.2f}** against "
        f"{rival}; the lowest margins of its {len(lowest)} restarts lie up to {np.ptp(lowest):.2g} logits apart. "
    )
    if trace.success[0]:
        found = int((lowest <= 0).sum())
        return text + f"{found} of them found a counterexample: **the answer to this property is `sat`**."
    return text + "None of them found a counterexample, which is no answer: `unsat` takes a proof."


def of_replay(found: Replay, name: str) -> str:
    """What the network makes of a claimed counterexample."""
    meaning = {
        "correct": "it answers the property: `sat`",
        "correct_with_tolerance": "it counts in the competition, as inputs may leave the box by 1e-4",
        "wrong": "it answers nothing",
    }[found.verdict]
    return f"{name}: **{found.verdict.replace('_', ' ')}**, {meaning}. {found.reason}"


def of_published(report: PublishedReport) -> str:
    """How the replay compares with what was published, and what the file names get wrong."""
    count = len(report.instances)
    if report.table is None:
        rows = "the folder holds no published table to compare with"
    else:
        rows = f"**{report.same_rows} of the {report.rows} rows** of {report.table} are given to the letter"
    text = f"Seed {report.seed} draws {count} instances from the published lists; {rows}. "
    if report.files:
        same = sum(file.same for file in report.files)
        known = sum(bool(file.known) for file in report.files)
        text += (
            f"**{same} of {len(report.files)}** published property files here come out byte for byte, made anew from "
            f"the images inside them; {known} of these images are among the loaded ones, by hash and label. "
        )
    first = report.instances[0]
    return text + (
        "Published names carry a mistake: `sidx` numbers the permuted test set, so the image is `perm[sidx]`, but the "
        f"`idx` in a name is `argsort(perm)[sidx]`. `{first.name}` holds test image **{first.index}**; "
        f"{report.misnamed} of {count} names here say the index of another image. Replayed names keep the mistake, "
        "manifests give the true index."
    )
