"""Weight remapping: from the Gaussian of a convolution's weights to what shift and adder layers have.

`gaussian_to_laplacian` is the mapping r of ShiftAddAug (equation 5), `TransformationKernel` the learnable piece-wise
linear map T of ShiftAddNAS (equation 8). r keeps the order of the weights, T where its factors are equal and above 0.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from repro.errors import InputError, check_int, check_number, refuse
from repro.ops import dispatch

PIECES = 200
"""Pieces of the kernel in all experiments of ShiftAddNAS (section 3.3)."""


def _check_scale(name: str, value: float) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < math.inf:
        raise InputError(f"{name}={value!r} is not allowed; it must be a positive number.")
    return float(value)


def gaussian_to_laplacian(
    weight: Tensor,
    scale: float,
    *,
    location: float = 0.0,
    mean: float | None = None,
    std: float | None = None,
) -> Tensor:
    """r(w) = ppf_laplace(cpf_gauss(w)): the same cumulative probability under a Laplace distribution.

    Args:
        weight: any shape, float; its values are taken as drawn from a Gaussian.
        scale, location: b and u of the Laplace distribution; the paper sets them "through prior knowledge".
        mean, std: of the Gaussian; by default those of `weight`. They are constants to the gradient.
    Returns: remapped weights in shape and dtype of `weight`; differentiable.
    Raises: InputError when a scale is not positive, another number not finite, `weight` no floating-point tensor, or
        has no spread of its own and none is given.
    Source: ShiftAddAug, equation 5, without its FC layer, which corrects what is not Gaussian. The tails are computed
    from log-probabilities: with the printed formula, ln(1 - 2|p - 1/2|) is infinite some six deviations out.
    """
    b, location = _check_scale("scale", scale), check_number("location", location)
    if not isinstance(weight, Tensor) or not weight.is_floating_point():
        kind = weight.dtype if isinstance(weight, Tensor) else type(weight).__name__
        raise InputError(f"weight is {kind}; it must be a floating-point tensor.")
    if weight.numel() == 0:
        return weight.clone()
    refuse(
        std is not None and not hasattr(std, "__float__"), f"std={std!r} is not allowed; it must be a positive number."
    )
    refuse(std is None and not weight.isfinite().all(), "weight holds NaN or infinity, of which nothing has a rank.")
    mean = float(weight.detach().double().mean()) if mean is None else check_number("mean", mean)
    std = float(weight.detach().double().std(correction=0)) if std is None else std
    if not std > 0:
        raise InputError(
            f"std={std!r} is not allowed; the weights must differ, or std must be given as a positive number."
        )
    return location + to_laplacian(weight, mean, _check_scale("std", std), b)


def to_laplacian(
    weight: Tensor, mean: Tensor | float, std: Tensor | float, scale: Tensor | float, *, even: bool = False
) -> Tensor:
    """r of equation 5 with location 0 and nothing checked; it and its gradient are finite for finite scores.

    Gradients reach the weight only: mean, std and scale are constants. float16 and bfloat16 are computed in float32;
    the result may have no place in float16 (r grows with the square of a score).
    With `even` the gradient is divided by r's slope where the derivative is multiplied by it; see `LaplaceRemap`.
    """
    wide = weight.float() if weight.dtype in (torch.float16, torch.bfloat16) else weight
    return _ToLaplacian.apply((wide - mean) / std, scale, even)[0].to(weight.dtype)


FARTHEST = 1e18
"""Deviations from which r no longer grows: the square of more has no place in float32."""


class _ToLaplacian(dispatch.BackwardOnlyFunction):
    """Standard scores z to -b sign(z) ln(2 P(Z > |z|)), the paper's ln(1 - 2|p - 1/2|), which is ln erfc(|z| / sqrt 2).

    By erfcx(u) = exp(u^2) erfc(u), which never underflows and which the slope is made of: b sqrt(2 / pi) / erfcx, b
    times the hazard of the Gaussian. Near 0 by ln(1 - erf), since rounding to powers of two sees the smallest weights.
    """

    generate_vmap_rule = True

    @staticmethod
    def forward(z: Tensor, scale: Tensor | float, even: bool) -> tuple[Tensor, Tensor]:
        u = z.abs().mul_(math.sqrt(0.5)).clamp_max_(FARTHEST)
        scaled = torch.special.erfcx(u)
        tail = torch.where(u < 0.5, torch.log1p(-torch.erf(u)), scaled.log() - u * u)
        return torch.copysign(tail, z).mul_(scale), scaled

    @staticmethod
    def setup_context(ctx, inputs: tuple, outputs: tuple[Tensor, Tensor]) -> None:
        _, ctx.scale, ctx.even = inputs
        ctx.mark_non_differentiable(outputs[1])
        ctx.save_for_backward(outputs[1])

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, gradient: Tensor, _: Tensor) -> tuple[Tensor, None, None]:
        (scaled,) = ctx.saved_tensors
        hazard = math.sqrt(2.0 / math.pi) / scaled
        # Both give g b sqrt(2) where the slope is that of the straight line between the same deviations.
        return gradient * ctx.scale * (2.0 / hazard if ctx.even else hazard), None, None


class TransformationKernel(nn.Module):
    """T(W) = sum_i alpha_i W[s i : s (i + 1)]: sorted weights, cut into pieces, each scaled by its own alpha.

    Args:
        pieces: d, the number of learnable factors; they start at 1, where T changes nothing.
    Forward: (any shape) -> the same shape. The weights are flattened, sorted in descending order, cut into `pieces`
        runs of equal length (the first ones one longer where the length does not divide), scaled, and put back.
    Source: ShiftAddNAS, equation 8. Weights and factors both receive gradients.
    """

    def __init__(self, pieces: int = PIECES):
        super().__init__()
        self.alpha = nn.Parameter(torch.ones(check_int("pieces", pieces, minimum=1)))

    @property
    def pieces(self) -> int:
        """Number of factors."""
        return self.alpha.numel()

    def piece_of(self, count: int) -> Tensor:
        """(count,) int64: the piece of each place in descending order."""
        short, longer = divmod(check_int("count", count, minimum=0), self.pieces)
        lengths = torch.full((self.pieces,), short, device=self.alpha.device)
        lengths[:longer] += 1
        return torch.repeat_interleave(torch.arange(self.pieces, device=self.alpha.device), lengths)

    def forward(self, weight: Tensor) -> Tensor:
        flat = weight.reshape(-1)
        order = flat.detach().argsort(descending=True, stable=True)
        half = self.alpha.dtype in (torch.float16, torch.bfloat16)  # thousands of gradients add up to one factor's
        factors = (self.alpha.float() if half else self.alpha)[self.piece_of(flat.numel())]
        placed = torch.empty_like(order)
        placed[order] = torch.arange(flat.numel(), device=order.device)
        return (flat * factors[placed].to(flat.dtype)).reshape(weight.shape)

    @torch.no_grad()
    def fit_(self, weight: Tensor, target: Tensor) -> TransformationKernel:
        """Set every factor to the least-squares one that takes `weight` to `target`, both sorted; returns self.

        What training would find if the distribution were its only aim; used to draw what T can do.
        Raises: InputError when the sizes differ.
        """
        if weight.numel() != target.numel():
            raise InputError(f"target has {target.numel()} values; it must have as many as weight, {weight.numel()}.")
        source = weight.detach().reshape(-1).sort(descending=True).values.double()
        wanted = target.detach().reshape(-1).sort(descending=True).values.double()
        piece = self.piece_of(source.numel())
        sums = source.new_zeros(2, self.pieces)
        products = sums[0].index_add_(0, piece, source * wanted)
        squares = sums[1].index_add_(0, piece, source * source)
        self.alpha.copy_(torch.where(squares > 0, products / squares, torch.ones_like(squares)))
        return self

    def extra_repr(self) -> str:
        return f"pieces={self.pieces}"
