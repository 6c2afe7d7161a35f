"""Adversarial and certified training losses behind one interface.

A certified loss is named by four choices (`CertifiedLoss`): which bounds, which points the ordinary cross entropy is
taken at, how the two are mixed, and, through the box handed in, how large a region is bounded. Margins are label's
logit minus the other; a column of the label itself is 0, so cross entropy of -margins is the robust loss.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Literal, Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..networks import ResNet
from .crown_row import row_margins
from .interval import IntervalPass, Pair, Statistics, batch_statistics, running_statistics


@dataclass(frozen=True)
class CertifiedLoss:
    """How a certified loss is put together."""

    bounds: Literal["ibp", "crown-ibp", "crown-ibp-fused", "crown-row"]
    base: Literal["clean", "adversarial"]  # where the ordinary cross entropy is taken
    mix: Literal["sum", "margins", "power"]
    source: str


LOSSES: dict[str, CertifiedLoss] = {
    "ibp": CertifiedLoss("ibp", "clean", "sum", "IBP, Gowal et al. 2018, arXiv 1810.12715"),
    "crown-ibp": CertifiedLoss("crown-ibp", "adversarial", "sum", "CROWN-IBP, Zhang et al. 2020, arXiv 1906.06316"),
    "crown-ibp-fused": CertifiedLoss(
        "crown-ibp-fused", "adversarial", "sum", "loss fusion, Xu et al. 2020, arXiv 2002.12920"
    ),
    "crown-row": CertifiedLoss("crown-row", "adversarial", "sum", "a CROWN row an image, see training.crown_row"),
    "mtl-ibp": CertifiedLoss("ibp", "adversarial", "sum", "MTL-IBP, De Palma et al. 2024, arXiv 2305.13991"),
    "cc-ibp": CertifiedLoss("ibp", "adversarial", "margins", "CC-IBP, De Palma et al. 2024, arXiv 2305.13991"),
    "exp-ibp": CertifiedLoss("ibp", "adversarial", "power", "Exp-IBP, De Palma et al. 2024, arXiv 2305.13991"),
    "sabr": CertifiedLoss("ibp", "adversarial", "sum", "SABR boxes, Mueller et al. 2023, arXiv 2210.04871"),
}
"""By recipe name. `sabr` is `mtl-ibp` meant for a small box around the adversarial point; at weight 1 it is SABR.

`crown-row` is over the whole box whatever the small box, which only gives it the ranges of the ReLUs' inputs.
"""

NEEDS_LIRPA = ("crown-ibp", "crown-ibp-fused")
"""Bounds that `training_loss` takes from `crown`."""


class LinearBounds(Protocol):
    """What `crown.CrownBounds` offers; handed in so that auto_LiRPA is only loaded when a recipe asks for it."""

    def margins(self, lower: Tensor, upper: Tensor, labels: Tensor, statistics: Statistics) -> Tensor: ...

    def fused_loss(self, lower: Tensor, upper: Tensor, labels: Tensor, statistics: Statistics) -> Tensor: ...


@dataclass(frozen=True)
class Batch:
    """One batch in network input space: points, the eps-box they were made for, labels."""

    clean: Tensor  # [N, C, H, W]
    adversarial: Tensor  # [N, C, H, W]
    lower: Tensor  # [N, C, H, W]
    upper: Tensor  # [N, C, H, W]
    labels: Tensor  # int64 [N]
    targets: Tensor | None = None  # [N, K], probabilities the ordinary cross entropy takes in place of `labels`

    def small_box(self, fraction: float, rows: int) -> Pair:
        """Boxes of `fraction` of the full width around the first `rows` adversarial points pulled inside the full box.

        Source: SABR, Mueller et al. 2023. At fraction 1 it is the full box.
        """
        lower, upper = self.lower[:rows], self.upper[:rows]
        half = (upper - lower) * (fraction / 2)
        centre = torch.minimum(torch.maximum(self.adversarial[:rows], lower + half), upper - half)
        return centre - half, centre + half


@dataclass(frozen=True)
class Terms:
    """Scalars of one batch; `total` is what is descended."""

    total: Tensor
    base: Tensor
    certified: Tensor | None
    regularizer: Tensor | None
    logits: Tensor  # [N, K] at the base points


@contextmanager
def resting(network: nn.Module) -> Iterator[None]:
    """Leave the running statistics of batch norms alone while the block runs; training mode stays what it is."""
    norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
    kept = [(norm.momentum, _counted(norm).clone()) for norm in norms]
    for norm in norms:
        norm.momentum = 0.0
    try:
        yield
    finally:
        for norm, (momentum, tracked) in zip(norms, kept, strict=True):
            norm.momentum = momentum
            _counted(norm).copy_(tracked)


def _counted(norm: nn.BatchNorm2d) -> Tensor:
    assert norm.num_batches_tracked is not None  # all of ours keep running statistics
    return norm.num_batches_tracked


def perturb(
    network: nn.Module, start: Tensor, lower: Tensor, upper: Tensor, labels: Tensor, steps: int, step_size: float
) -> Tensor:
    """Points [N, C, H, W] of the box after `steps` ascents of the cross entropy along the gradient's sign.

    A step is `step_size` times the box's half-width, channel by channel. One step from a random start is the attack of
    Wong et al. 2020 (arXiv 2001.03994), many are Madry et al. 2018 (arXiv 1706.06083). Batch norms keep their mode, but
    their running statistics are left alone.
    """
    point = start.detach()
    half = (upper - lower) / 2 * step_size
    with resting(network):
        for _ in range(steps):
            point = point.requires_grad_()
            loss = F.cross_entropy(network(point).float(), labels, reduction="sum")
            (gradient,) = torch.autograd.grad(loss, point)
            point = torch.clamp(point.detach() + half * gradient.sign(), lower, upper)
    return point.detach()


def training_loss(
    network: ResNet,
    batch: Batch,
    name: str,
    *,
    weight: float = 0.0,
    box: float = 1.0,
    bound_share: float = 1.0,
    regularizer: float = 0.0,
    label_smoothing: float = 0.0,
    autocast: bool = False,
    crown: LinearBounds | None = None,
) -> Terms:
    """Loss of `batch` under the certified loss `name`, or the adversarial one alone where `weight` is 0.

    The bound pass sees each batch norm as the affine map given by the batch statistics of the base points (running
    statistics in evaluation mode); gradients flow through those statistics. With `bound_share` below 1 the first rows
    stand for the batch: total = mean(base) + mean over the bounded rows of (mixed - base), whose expectation is the
    mean of the mixed loss over the whole batch.
    """
    kind = LOSSES.get(name) if weight > 0 else None
    points = batch.clean if kind is not None and kind.base == "clean" else batch.adversarial
    with ExitStack() as stack:
        seen = stack.enter_context(batch_statistics(network)) if kind is not None and network.training else None
        if autocast:
            stack.enter_context(torch.autocast(points.device.type, dtype=torch.bfloat16))
        logits = network(points)
    logits = logits.float() if logits.dtype == torch.bfloat16 else logits
    targets = batch.labels if batch.targets is None else batch.targets
    base = F.cross_entropy(logits, targets, reduction="none", label_smoothing=label_smoothing)
    if kind is None:
        return Terms(base.mean(), base.mean(), None, None, logits)

    rows = max(1, round(bound_share * len(batch.labels)))
    labels = batch.labels[:rows]
    lower, upper = batch.small_box(box, rows)
    statistics = seen if seen is not None else running_statistics(network)
    interval = IntervalPass(network, statistics)
    if kind.bounds == "crown-ibp-fused":
        assert crown is not None  # see `NEEDS_LIRPA`
        margins, certified = None, crown.fused_loss(lower, upper, labels, statistics)
    else:
        if kind.bounds == "crown-row":
            whole = (batch.lower[:rows], batch.upper[:rows])
            margins = row_margins(network, statistics, logits[:rows], labels, whole, box)
        elif kind.bounds == "crown-ibp":
            assert crown is not None
            margins = crown.margins(lower, upper, labels, statistics)
        else:
            margins = interval.margins(lower, upper, labels)
        certified = F.cross_entropy(-margins, labels, reduction="none")
    mixed = _mix(kind, weight, base[:rows], certified, logits[:rows], margins, labels)
    total = base.mean() + (mixed - base[:rows]).mean()
    penalty = None
    if regularizer > 0:
        if not interval.pre_activations:
            interval.hidden(lower, upper)
        penalty = shi_regularizer(interval.pre_activations, lower, upper)
        total = total + regularizer * penalty
    return Terms(total, base.mean(), certified.mean(), penalty, logits)


def _mix(
    kind: CertifiedLoss,
    weight: float,
    base: Tensor,
    certified: Tensor,
    logits: Tensor,
    margins: Tensor | None,
    labels: Tensor,
) -> Tensor:
    """Loss [N] between the ordinary one (weight 0) and the certified one (weight 1)."""
    if kind.mix == "sum":
        return (1 - weight) * base + weight * certified
    if kind.mix == "power":
        # base^(1-w) * certified^w in logarithms; the floor keeps the gradient finite once a point is learnt
        floor = 1e-5
        return torch.exp((1 - weight) * base.clamp(min=floor).log() + weight * certified.clamp(min=floor).log())
    assert margins is not None  # only "sum" goes without
    seen = logits.gather(1, labels[:, None]) - logits
    return F.cross_entropy(-((1 - weight) * seen + weight * margins), labels, reduction="none")


def shi_regularizer(pre_activations: list[Pair], lower: Tensor, upper: Tensor, tolerance: float = 0.5) -> Tensor:
    """Tightness and ReLU-balance penalties of Shi et al. 2021 (arXiv 2103.17268), a scalar.

    Tightness: the mean interval width of a ReLU's input should not exceed 1 / `tolerance` of the box's own. Balance:
    the centres of always active and never active neurons should have like sums and like variances.
    """
    tiny = 1e-12
    start = (upper - lower).mean()
    total = torch.zeros((), dtype=lower.dtype, device=lower.device)
    for low, high in pre_activations:
        total = total + F.relu(tolerance - start / (high - low).mean().clamp(min=tiny))
        centre = (high + low) / 2
        active, inactive = (low > 0).to(centre.dtype), (high < 0).to(centre.dtype)
        spread = (centre - centre.mean()) ** 2
        pairs = (
            ((centre * active).sum(), -(centre * inactive).sum()),
            ((spread * active).sum(), (spread * inactive).sum()),
        )
        for one, other in pairs:
            if one > 0 and other > 0:
                total = total + F.relu(tolerance - torch.minimum(one / other, other / one))
    return total / (tolerance * len(pre_activations))


def certified_init(network: nn.Module) -> None:
    """Weights from a normal distribution of deviation sqrt(2 pi) / fan-in, biases 0, in place.

    It keeps the width of interval bounds from growing with depth. Source: Shi et al. 2021 (arXiv 2103.17268).
    """
    for module in network.modules():
        if isinstance(module, (nn.Conv2d, nn.Linear)):
            fan_in = module.weight[0].numel()
            nn.init.normal_(module.weight, 0.0, math.sqrt(2 * math.pi) / fan_in)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
