"""Weight remapping: from the Gaussian of a convolution's weights to what shift and adder layers have.

`gaussian_to_laplacian` is the mapping r of ShiftAddAug (equation 5), `TransformationKernel` the learnable piece-wise
linear map T of ShiftAddNAS (equation 8). Both keep the order of the weights as long as the kernel's slopes are equal in
neighbouring pieces; r always does.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from repro.errors import InputError, check_int

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
    Raises: InputError when a scale is not positive, or `weight` has no spread of its own and none is given.
    Source: ShiftAddAug, equation 5, without its FC layer, which corrects what is not Gaussian. The tails are computed
    from log-probabilities: with the printed formula, ln(1 - 2|p - 1/2|) is infinite some six deviations out.
    """
    b = _check_scale("scale", scale)
    if weight.numel() == 0:
        return weight.clone()
    mean = float(weight.detach().double().mean()) if mean is None else float(mean)
    std = float(weight.detach().double().std(correction=0)) if std is None else std
    if not std > 0:
        raise InputError(
            f"std={std!r} is not allowed; the weights must differ, or std must be given as a positive number."
        )
    return location + to_laplacian(weight, mean, _check_scale("std", std), b)


def to_laplacian(weight: Tensor, mean: Tensor | float, std: Tensor | float, scale: Tensor | float) -> Tensor:
    """r of equation 5 with location 0 and nothing checked; finite for every finite weight.

    Gradients reach the weight only: mean, std and scale are constants.
    """
    return _ToLaplacian.apply((weight - mean) / std, scale)


class _ToLaplacian(torch.autograd.Function):
    """Standard scores z to -b sign(z) ln(2 P(Z > |z|)), which is the paper's ln(1 - 2|p - 1/2|).

    Its slope is b times the hazard of the Gaussian at |z|; as one node it costs a third of what torch derives. Near 0
    ln(1 - erf), else ln erfc: torch's log_ndtr takes three times as long and loses the small weights, which rounding to
    powers of two sees (2 % of a float32 score of 1e-5); it is asked only where erfc underflows.
    """

    @staticmethod
    def forward(ctx, z: Tensor, scale: Tensor | float) -> Tensor:
        u = z.abs().mul_(math.sqrt(0.5))
        tail = torch.where(u < 0.5, torch.log1p(-torch.erf(u)), torch.erfc(u).log_())
        far = u > 9.0
        if far.any():
            tail[far] = torch.special.log_ndtr(-z[far].abs()) + math.log(2.0)
        ctx.save_for_backward(z, tail)
        ctx.scale = scale
        return torch.copysign(tail, z).mul_(scale)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, gradient: Tensor) -> tuple[Tensor, None]:
        z, tail = ctx.saved_tensors
        hazard = torch.exp(-0.5 * z * z - tail + 0.5 * math.log(2.0 / math.pi))
        return gradient * hazard * ctx.scale, None


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
        factors = self.alpha[self.piece_of(flat.numel())]
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
        products = torch.zeros(self.pieces, dtype=torch.float64).index_add_(0, piece, source * wanted)
        squares = torch.zeros(self.pieces, dtype=torch.float64).index_add_(0, piece, source * source)
        self.alpha.copy_(torch.where(squares > 0, products / squares, torch.ones_like(squares)))
        return self

    def extra_repr(self) -> str:
        return f"pieces={self.pieces}"
