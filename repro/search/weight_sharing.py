"""Heterogeneous weight sharing: one pool of weights that convolutions, shift and adder layers compute with.

Convolutions take the pool as it is, shift layers round it to powers of two, adder layers take T(pool), where T is the
piece-wise linear kernel of ShiftAddNAS's equation 8. A divergence pulls the pool to N(0, 1) and T(pool) to
Laplace(0, lambda) (equation 7). `WeightSharing` names one way of it, the naive ones that it is compared with among
them.

The largest power of two that a shift layer has is 1. Of a pool at unit scale it cuts the 16 % of weights beyond the
square root of 2 to that, of one at He's scale next to none.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from repro.augment.remap import PIECES, TransformationKernel
from repro.errors import InputError, check_choice, check_flag, check_int, check_number, refuse

STARTS = ("he", "unit")
REMAPS = ("none", "constant", "transform", "released")
FACTORS = ("ones", "fitted", "random")
DIVERGENCES = ("none", "entropy", "closed", "softmax")
GAUSSIAN, LAPLACE = "gaussian", "laplace"


@dataclass(frozen=True)
class WeightSharing:
    """How operators share weights; the defaults are ShiftAddNAS's section 3.2.2, as we read it.

    Readings: factors start fitted, D is by spacings, its mean over a path's tensors stands for the sum of equation 7,
    and every tensor has a T of its own where the text has one for a layer.

    Attributes:
        shared: False gives every operator weights of its own, and nothing below matters.
        start: deviation of the pool before training: "he" sqrt(2 / fan_out), "unit" 1.
        remap: what adder layers compute with: "none" the pool itself; "constant" the pool times one learnt factor;
            "transform" T(pool) by equation 8; "released" the public code's kernel (`EqualWidthKernel`).
        factors: what the factors of the remap are before training: "ones", "fitted" to the quantiles of
            Laplace(0, scale) by least squares, or "random", N(0, 1). Fitted factors of a tensor with hardly
            more weights than factors may be large, and negative.
        pieces: factors of a tensor, at most as many as it has weights.
        divergence: "none"; "entropy", "closed" or "softmax", see `divergence_of`.
        weight: of the divergence, which is the mean over the tensors of a path.
        scale: lambda of the Laplace distribution.
    Raises: InputError for an unknown name or a number out of range.
    """

    shared: bool = True
    start: str = "unit"
    remap: str = "transform"
    factors: str = "fitted"
    pieces: int = PIECES
    divergence: str = "entropy"
    weight: float = 1.0
    scale: float = 1.0

    def __post_init__(self):
        check_flag("shared", self.shared)
        check_choice("start", self.start, STARTS)
        check_choice("remap", self.remap, REMAPS)
        check_choice("factors", self.factors, FACTORS)
        check_int("pieces", self.pieces, minimum=1)
        check_choice("divergence", self.divergence, DIVERGENCES)
        check_number("weight", self.weight, minimum=0)
        check_number("scale", self.scale, above=0)
        if (self.remap, self.factors) == ("released", "fitted"):
            raise InputError(
                "factors='fitted' is not allowed with remap='released'; its pieces are not of equal count."
            )

    def pool_tensor(self, shape: tuple[int, ...]) -> nn.Parameter:
        """A pooled tensor of that shape (C_out, C_in, K, K), Gaussian."""
        tensor = torch.empty(shape)
        if self.start == "he":
            nn.init.kaiming_normal_(tensor, mode="fan_out")
        else:
            nn.init.normal_(tensor)
        return nn.Parameter(tensor)

    def kernel(self, weight: Tensor) -> nn.Module | None:
        """The remap of an adder layer that takes its weights from `weight`; None where they stay as they are."""
        if self.remap == "none":
            return None
        pieces = 1 if self.remap == "constant" else min(self.pieces, weight.numel())
        kernel = EqualWidthKernel(pieces) if self.remap == "released" else TransformationKernel(pieces)
        if self.factors == "fitted":
            kernel.fit_(weight, laplace_quantiles(weight.numel(), self.scale))
        elif self.factors == "random":
            nn.init.normal_(kernel.alpha)
        return kernel

    def term(self, weight: Tensor, operator: str) -> Tensor | None:
        """The divergence of what an operator computes with; None for one that has none.

        A pool that starts at He's scale is divided by its deviation first, so that only its shape counts. The softmax
        form asks something of adder layers only, as released; shift layers are never asked.
        """
        if operator == "adder":
            return divergence_of(weight, LAPLACE, self.divergence, self.scale)
        if operator == "conv" and self.divergence != "softmax":
            weight = weight / _apart(weight.std(correction=0)) if self.start == "he" else weight
            return divergence_of(weight, GAUSSIAN, self.divergence)
        return None


class EqualWidthKernel(TransformationKernel):
    """The kernel of the public code: pieces of equal width between the smallest and the largest weight.

    Nothing is sorted, and the largest weight lies in no piece: it becomes 0.
    """

    def forward(self, weight: Tensor) -> Tensor:
        low, high = weight.detach().aminmax()
        place = ((weight.detach() - low) / (high - low).clamp_min(torch.finfo(weight.dtype).tiny) * self.pieces).long()
        inside = place < self.pieces
        return weight * self.alpha[place.clamp_max(self.pieces - 1)].to(weight.dtype) * inside


def laplace_quantiles(count: int, scale: float) -> Tensor:
    """(count,) float64: quantiles of Laplace(0, scale) at (i + 1/2) / count, ascending."""
    probability = (torch.arange(count, dtype=torch.float64) + 0.5) / count
    return torch.distributions.Laplace(0.0, scale).icdf(probability)


def refuse_no_floats(weight: object) -> None:
    """InputError for what is no floating-point tensor."""
    kind = weight.dtype if isinstance(weight, Tensor) else type(weight).__name__
    floats = isinstance(weight, Tensor) and weight.is_floating_point()
    refuse(not floats, f"weight is {kind}; it must be a floating-point tensor.")


def refuse_bad_scale(scale: object) -> None:
    """InputError for what is no positive number."""
    check_number("scale", scale, above=0)


def divergence_of(weight: Tensor, family: str, form: str, scale: float = 1.0) -> Tensor:
    """How far weights are from N(0, 1) ("gaussian") or Laplace(0, scale) ("laplace"), in nats; 0-dimensional.

    Args:
        form: "entropy": D(p || q) = -H(p) + cross-entropy, H by spacings of the sorted weights (Vasicek 1976), no shape
            assumed. "closed": D between the family's member fitted to the weights by maximum likelihood and q: scale
            and location count, shape does not. "softmax": what the public code computes, the mean over weights of the
            divergence of softmax(weights) from softmax(one fresh sample of q).
        scale: lambda of the Laplace distribution.
    Weights that are all equal count as a rounding step apart, so the first two forms are large and finite there.
    Raises: InputError for fewer than two weights, which have no distribution.
    Source: ShiftAddNAS, equation 7; its D is printed without a logarithm, which no divergence is.
    """
    check_choice("family", family, (GAUSSIAN, LAPLACE))
    check_choice("form", form, DIVERGENCES[1:])
    refuse_no_floats(weight)
    refuse_bad_scale(scale)
    flat = weight.reshape(-1)
    if flat.numel() < 2:
        raise InputError(f"weight has {flat.numel()} values; a divergence of their distribution needs at least 2.")
    if form == "softmax":
        sample = torch.distributions.Laplace(0.0, scale) if family == LAPLACE else torch.distributions.Normal(0.0, 1.0)
        drawn = sample.sample(flat.shape).to(flat)
        logarithms = flat.log_softmax(0), drawn.log_softmax(0)
        return F.kl_div(*logarithms, reduction="sum", log_target=True) / flat.numel()
    if form == "entropy":
        return cross_entropy(flat, family, scale) - spacing_entropy(flat)
    if family == GAUSSIAN:
        mean, variance = flat.mean(), flat.var(correction=0)
        return 0.5 * (variance + mean**2 - 1 - variance.clamp_min(torch.finfo(flat.dtype).eps ** 2).log())
    location = flat.median()
    spread = _apart((flat - location).abs().mean())
    return (scale / spread).log() + (location.abs() + spread * (-location.abs() / spread).exp()) / scale - 1


def _apart(width: Tensor) -> Tensor:
    """A width of a distribution, at least a rounding step."""
    return width.clamp_min(torch.finfo(width.dtype).eps)


def cross_entropy(weight: Tensor, family: str, scale: float) -> Tensor:
    """-E log q over the weights, in nats."""
    if family == GAUSSIAN:
        return 0.5 * math.log(2 * math.pi) + 0.5 * weight.square().mean()
    return math.log(2 * scale) + weight.abs().mean() / scale


def spacing_entropy(weight: Tensor) -> Tensor:
    """Differential entropy of the weights' distribution in nats, by m-spacings with 2 m about sqrt(n).

    Too low on average for few weights (0.3 for 9 of a Gaussian, 0.1 for 36, 0.002 for 4,000), whatever they are: that
    has no part in the gradient. Weights closer than the rounding step of 1 count as that far apart.
    """
    count = weight.numel()
    m = max(1, round(math.sqrt(count) / 2))
    ordered = weight.sort().values
    places = torch.arange(count, device=weight.device)
    above, below = (places + m).clamp_max(count - 1), (places - m).clamp_min(0)
    spacing = _apart(ordered[above] - ordered[below])
    return (spacing * count / (above - below)).log().mean()
