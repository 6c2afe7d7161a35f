"""CROWN-IBP bounds of a network in training, by auto_LiRPA: intervals inside, one backward pass for the output.

`margins` asks for one row a class. `fused_loss` asks for a single row: the robust cross entropy itself is bounded, its
exponentials replaced by chords over their interval bounds. Both are upper bounds of the same loss, but not the same
number: a chord lies far above its exponential where the interval is long, so the fused loss was the looser one on every
box measured, and much the cheaper one (`tests/benchmarks/loss_fusion.py`).

Sources: CROWN-IBP, Zhang et al. 2020 (arXiv 1906.06316); loss fusion, Xu et al. 2020 (arXiv 2002.12920).
"""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor

from ..bounds import lirpa
from ..networks import ResNet, in_memory_format
from .interval import IntervalPass, Statistics


class CrownBounds:
    """A bounded twin that shares the parameters of `network`, so that gradients of its bounds reach them."""

    def __init__(self, network: ResNet, device: torch.device) -> None:
        self.network = network
        parameter = next(network.parameters())
        example = torch.zeros(1, *network.architecture.input_shape, device=device, dtype=parameter.dtype)
        twin = in_memory_format(copy.deepcopy(network), torch.contiguous_format).eval()
        self._bounded = lirpa.library().BoundedModule(twin, example, bound_opts={"conv_mode": "matrix"}, device=device)
        # in evaluation mode the library would switch the gradients of the shared parameters off; the batch norms alone
        # stay in evaluation mode and so take the statistics they are handed
        self._bounded.train()
        parameters = dict(network.named_parameters())
        self._statistics: dict[str, list[Any]] = {}
        for node in self._bounded.modules():
            if type(node).__name__ == "BoundBatchNormalization":
                node.training = False
            name = getattr(node, "ori_name", None)
            if name in parameters:
                node.param = parameters[name]
            elif name is not None and name.endswith(("running_mean", "running_var")):
                self._statistics[name] = [*self._statistics.get(name, []), node]

    def margins(self, lower: Tensor, upper: Tensor, labels: Tensor, statistics: Statistics) -> Tensor:
        """Lower bounds [N, K] of label's logit minus each logit over the boxes [N, C, H, W]; own column 0."""
        identity = torch.eye(self.network.architecture.classes, dtype=lower.dtype, device=lower.device)
        wanted = identity[labels][:, None, :] - identity[None]
        return self._compute(lower, upper, wanted, statistics, bound_upper=False)[0]

    def fused_loss(self, lower: Tensor, upper: Tensor, labels: Tensor, statistics: Statistics) -> Tensor:
        """Upper bounds [N] of the cross entropy over the boxes, from one row an image instead of one a class.

        With u_j = logit j - logit of the label in [l_j, h_j] by intervals, exp(u_j) lies below the chord between
        exp(l_j) and exp(h_j); the sum of the chords is linear in the logits and bounded as one output.
        """
        margin_low, margin_high = IntervalPass(self.network, statistics).margin_interval(lower, upper, labels)
        low, high = -margin_high, -margin_low
        shift = high.detach().amax(1, keepdim=True)  # keeps the exponentials below 1; cancels in the result
        start, end = (low - shift).exp(), (high - shift).exp()
        width = high - low
        narrow = width < 1e-3  # here the quotient loses its digits, and its Taylor polynomial is exact to 1e-7
        chord = torch.where(
            narrow, start * (1 + width / 2 + width**2 / 6), (end - start) / width.masked_fill(narrow, 1.0)
        )
        own = torch.nn.functional.one_hot(labels, chord.shape[1]).to(chord.dtype)
        wanted = chord - own * chord.sum(1, keepdim=True)
        bound = self._compute(lower, upper, wanted[:, None, :], statistics, bound_lower=False)[1]
        total = bound[:, 0] + (start - chord * low).sum(1)
        return shift[:, 0] + total.clamp(min=torch.finfo(total.dtype).tiny).log()

    def _compute(
        self, lower: Tensor, upper: Tensor, wanted: Tensor, statistics: Statistics, **sides: bool
    ) -> tuple[Tensor, Tensor]:  # None on a side that was not asked for
        for name, (mean, variance) in statistics.items():
            for kind, value in (("mean", mean), ("var", variance)):
                for node in self._statistics[f"{name}.running_{kind}"]:
                    node.buffer = value
        library = lirpa.library()
        box = library.PerturbationLpNorm(norm=float("inf"), x_L=lower.contiguous(), x_U=upper.contiguous())
        x = library.BoundedTensor(((lower + upper) / 2).contiguous(), box)
        return self._bounded.compute_bounds(x=(x,), C=wanted, method="CROWN-IBP", **sides)
