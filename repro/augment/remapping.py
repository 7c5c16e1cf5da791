"""R: from the weights in memory to those that the target part computes with (ShiftAddAug Sec. 3.3, equation 5).

    R(W) = r(FC(W)),   r = ppf_laplace(cpf_gauss(.))

Weights in memory start Gaussian and are shared by both parts; R acts at every forward, on the target part. They need
not stay Gaussian: where R's outputs can grow no more (the largest shift value, a filter that only cancels) single
weights run far off and become most of the deviation by which R goes. A remap is a
module `forward(weight, *, mean, std)`; mean and std are those of the whole wide tensor, constants to the gradient, or
those of the target's part where the module's attribute `own` is true. Its method `deviation(std)` tells the standard
deviation of what Gaussian weights of deviation std become, by which the adaptive rate of adders goes; a method
`penalty(weight, whole)`, if there is one, gives what is added to the loss.
`remapping(name, …)` gives what `augment(..., remap=…)` takes. Beside the paper's R it knows what table 8 compares with.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from repro.augment.remap import TransformationKernel, to_laplacian
from repro.errors import InputError, check_choice, check_int, check_number, refuse

SMALL = 0.1
"""Scale of the small Laplace part of shift weights, in deviations ("a Laplace distribution with a small variance")."""
PENALTY = 10.0
"""Weight of the divergence that ShiftAddNAS adds to the loss."""


class LaplaceRemap(nn.Module):
    """R with FC the identity: the weights of an adder, or of a shift layer, from Gaussian ones.

    Args:
        scale: b of the Laplace distribution; None makes its deviation that of the weights, b = std / sqrt(2).
        added: W + r(W) with b = SMALL std instead: the convolution's weights plus a small Laplace part.
        even: divide the gradient by r's slope instead of multiplying by it, so that a step moves R(W) as it would move
            the weights of a layer without R.
        own: go by mean and deviation of the target's own weights; see the module's text.
    Raises: InputError for a scale that is not positive.

    Why `even`: by the chain rule a step moves R(W) by the square of r's slope, 0.32 of the straight line's at the
    middle and 2.8 times it at two deviations, and r of what went far goes farther still. Adder filters, whose steps all
    have the same length, then end in a few weights: in 282 steps of random directions the largest 5 % come to hold more
    than 90 % of R(W)'s square, against 42 % in a Laplace distribution.
    """

    def __init__(self, scale: float | None = None, *, added: bool = False, even: bool = False, own: bool = False):
        super().__init__()
        self.scale = None if scale is None else float(check_number("scale", scale, above=0))
        self.added, self.even, self.own = added, even, own

    def _scale(self, std: Tensor) -> Tensor | float:
        if self.scale is not None:
            return self.scale
        return SMALL * std if self.added else std / math.sqrt(2.0)

    def forward(self, weight: Tensor, *, mean: Tensor, std: Tensor) -> Tensor:
        """Remapped weights in the shape of `weight`."""
        std = _spread(mean, std)
        remapped = to_laplacian(weight, mean, std, self._scale(std), even=self.even)
        return weight + remapped if self.added else remapped

    def deviation(self, std: Tensor) -> Tensor:
        """Standard deviation of what Gaussian weights of deviation `std` become."""
        laplace = self._scale(std) * math.sqrt(2.0) * torch.ones_like(std)
        # Gaussian scores and their Laplace counterparts correlate by 0.981 (E[z r(z)] at b = 1/sqrt 2).
        return (std**2 + laplace**2 + 2 * 0.981 * std * laplace).sqrt() if self.added else laplace

    def extra_repr(self) -> str:
        return f"scale={self.scale}" + ", added" * self.added + ", even" * self.even + ", own" * self.own


def _spread(mean: Tensor, std: Tensor) -> Tensor:
    """`std`, but no less than what rounding alone gives weights that are all the same."""
    eps = torch.finfo(std.dtype)
    return torch.maximum(std, eps.eps * mean.abs()).clamp_min(eps.tiny)


class ScaledRemap(nn.Module):
    """What is left of R without r: weights of the same shape, with the deviation that R would give them.

    Args:
        scale: as LaplaceRemap's; the deviation is scale sqrt(2). None leaves the weights' own.
    """

    def __init__(self, scale: float | None = None):
        super().__init__()
        self.inner = LaplaceRemap(scale)

    def forward(self, weight: Tensor, *, mean: Tensor, std: Tensor) -> Tensor:
        """(W - mean) b sqrt(2) / std."""
        std = _spread(mean, std)
        return (weight - mean) * (self.inner.deviation(std) / std)

    def deviation(self, std: Tensor) -> Tensor:
        """As LaplaceRemap's."""
        return self.inner.deviation(std)


class FittedRemap(nn.Module):
    """R whose FC was fitted before the training and stays as it is: W + Linear(W) over the filters' k x k values.

    Args:
        weight: weights (C_out, C_in, k, k) of the same layer of a network trained by itself: the linear part is the
            least-squares one that takes them, filter by filter, to the normal scores of their ranks.
        inner: r, which follows; None leaves it out, as table 8's row does.
    """

    def __init__(self, weight: Tensor, inner: LaplaceRemap | None):
        super().__init__()
        self.inner = inner
        flat = weight.detach().double()
        slices = flat.reshape(-1, math.prod(flat.shape[2:]) if flat.ndim > 2 else 1)
        wanted = normal_scores(slices) - slices
        columns = torch.cat([slices, torch.ones(len(slices), 1, dtype=torch.float64)], 1)
        solution = torch.linalg.lstsq(columns, wanted, driver="gelsd").solution
        self.register_buffer("matrix", solution[:-1].T.to(weight.dtype).contiguous())
        self.register_buffer("offset", solution[-1].to(weight.dtype))

    def corrected(self, weight: Tensor) -> Tensor:
        """FC(W) = W + Linear(W)."""
        slices = weight.reshape(-1, len(self.offset))
        return (slices + slices @ self.matrix.T + self.offset).reshape(weight.shape)

    def forward(self, weight: Tensor, *, mean: Tensor, std: Tensor) -> Tensor:
        """r(FC(W)), or FC(W)."""
        corrected = self.corrected(weight)
        return corrected if self.inner is None else self.inner(corrected, mean=mean, std=std)

    def deviation(self, std: Tensor) -> Tensor:
        """As the inner remap's; without one it is taken as that of the weights."""
        return std if self.inner is None else self.inner.deviation(std)


class QuantileRemap(nn.Module):
    """R whose FC is one curve for all weights of a layer, fitted before the training and frozen.

    Args:
        weight: weights of the same layer of a network trained by itself. The curve is straight between `knots` of its
            quantiles, in deviations from the mean, and takes each to the quantile of a Gaussian; its ends continue.
        inner: r.
    """

    def __init__(self, weight: Tensor, inner: LaplaceRemap, *, knots: int = 33):
        super().__init__()
        check_int("knots", knots, minimum=2)
        self.inner = inner
        flat = weight.detach().double().reshape(-1)
        probability = (torch.arange(knots, dtype=torch.float64) + 0.5) / knots
        at = torch.quantile(flat, probability)
        kept = torch.cat([at.diff() > 0, torch.ones(1, dtype=torch.bool)])
        at, scores = at[kept], torch.special.ndtri(probability[kept])
        if len(at) < 2:  # weights that are all the same say nothing of a distribution
            at, scores = torch.tensor([[0.0, 1.0], [0.0, 1.0]], dtype=torch.float64)
        else:
            at = (at - flat.mean()) / flat.std(correction=0)
        self.register_buffer("at", at.to(weight.dtype))
        self.register_buffer("scores", scores.to(weight.dtype))

    def corrected(self, weight: Tensor, mean: Tensor, std: Tensor) -> Tensor:
        """FC(W), of the same order as W."""
        z = ((weight - mean) / std).contiguous()
        right = torch.searchsorted(self.at, z.detach()).clamp(1, len(self.at) - 1)
        left = right - 1
        slope = (self.scores[right] - self.scores[left]) / (self.at[right] - self.at[left])
        return mean + std * (self.scores[left] + slope * (z - self.at[left]))

    def forward(self, weight: Tensor, *, mean: Tensor, std: Tensor) -> Tensor:
        """r(FC(W))."""
        return self.inner(self.corrected(weight, mean, _spread(mean, std)), mean=mean, std=std)

    def deviation(self, std: Tensor) -> Tensor:
        """As the inner remap's."""
        return self.inner.deviation(std)


def normal_scores(weight: Tensor) -> Tensor:
    """What the weights would be if they were Gaussian with their mean and deviation and in the same order."""
    flat = weight.reshape(-1)
    ranks = torch.empty_like(flat)
    ranks[flat.argsort(stable=True)] = torch.arange(1, flat.numel() + 1, dtype=flat.dtype)
    scores = torch.special.ndtri((ranks - 0.5) / flat.numel())
    scores = scores / scores.std(correction=0).clamp_min(torch.finfo(flat.dtype).tiny)  # one weight has no spread
    return (flat.mean() + flat.std(correction=0) * scores).reshape(weight.shape)


class LinearRemap(nn.Module):
    """A linear map over the filters' k x k values, trained with the network from torch's own start (table 8)."""

    def __init__(self, weight: Tensor):
        super().__init__()
        taps = math.prod(weight.shape[2:]) if weight.ndim > 2 else 1
        self.linear = nn.Linear(taps, taps)

    def forward(self, weight: Tensor, *, mean: Tensor, std: Tensor) -> Tensor:
        """Linear(W); the statistics are not used."""
        return self.linear(weight.reshape(-1, self.linear.in_features)).reshape(weight.shape)

    def deviation(self, std: Tensor) -> Tensor:
        """Taken as that of the weights."""
        return std


class KernelRemap(nn.Module):
    """ShiftAddNAS's transformation kernel on the target's weights, with its penalty (table 8).

    Pieces are of equal count, as equation 8 of that paper has them; its code cuts them of equal width.

    Args:
        random: factors from N(0, 1), as released; else from 1, where the kernel changes nothing.
    """

    def __init__(self, *, random: bool = True, pieces: int = 100):
        super().__init__()
        self.kernel = TransformationKernel(pieces)
        if random:
            nn.init.normal_(self.kernel.alpha)

    def forward(self, weight: Tensor, *, mean: Tensor, std: Tensor) -> Tensor:
        """T(W); the statistics are not used."""
        return self.kernel(weight)

    def deviation(self, std: Tensor) -> Tensor:
        """Taken as that of the weights."""
        return std

    def penalty(self, weight: Tensor, whole: Tensor) -> Tensor:
        """PENALTY times the released divergence: softmax of T(W) against softmax of a fresh Laplace(0, 2) sample."""
        remapped = self.kernel(weight).reshape(-1)
        exponential = torch.empty_like(remapped).exponential_()
        sample = 2.0 * exponential * torch.sign(torch.rand_like(remapped) - 0.5)
        logarithms = remapped.log_softmax(0), sample.log_softmax(0)
        return PENALTY * nn.functional.kl_div(*logarithms, reduction="sum", log_target=True) / remapped.numel()


class PenaltyOnly(nn.Module):
    """No remapping: a penalty pulls the target's weights to the Gaussian of the whole layer (table 8).

    Args:
        averaged: divide the divergence by the number of weights, as ShiftAddNAS's code averages its own over them. The
            paper prints neither factor nor unit.
    """

    def __init__(self, *, averaged: bool = False):
        super().__init__()
        self.averaged = averaged

    def forward(self, weight: Tensor, *, mean: Tensor, std: Tensor) -> Tensor:
        """The weights themselves."""
        return weight

    def deviation(self, std: Tensor) -> Tensor:
        """That of the weights."""
        return std

    def penalty(self, weight: Tensor, whole: Tensor) -> Tensor:
        """PENALTY times KL(N(target) || N(whole)), by mean and deviation; the whole is a constant."""
        mean, std = whole.detach().mean(), whole.detach().std(correction=0)
        own = weight.std(correction=0).clamp_min(torch.finfo(weight.dtype).eps * std)  # weights that are all the same
        distance = (own**2 + (weight.mean() - mean) ** 2) / (2 * std**2)
        divergence = torch.log(std / own) + distance - 0.5
        return PENALTY * divergence / (weight.numel() if self.averaged else 1)

    def extra_repr(self) -> str:
        return "averaged" * self.averaged


REMAPPINGS = (
    "laplace", "small_laplace", "quantile", "linear_skip_freeze", "linear_skip_freeze_r", "linear", "kernel",
    "kernel_from_one", "kl_only", "kl_averaged", "laplace_even", "scaled", "laplace_own",
)  # fmt: skip
"""Ours (equation 5), the reading of Sec. 3.3 for shift, fitted FCs ("linear_skip_freeze" alone, "…_r" and "quantile"
with r behind it), what table 8 compares with; and three controls: r with even steps, no r at all but its scale, and r
by mean and deviation of the target's own weights."""
FITTED = {"quantile": QuantileRemap, "linear_skip_freeze": FittedRemap, "linear_skip_freeze_r": FittedRemap}
ADDER_SCALE = 1 / math.sqrt(2)
"""b of adder weights where none was measured: deviation 1, with which adder layers start."""


def remapping(
    name: str,
    *,
    adder_scale: float | Mapping[str, float] = ADDER_SCALE,
    trained: Mapping[str, Tensor] | None = None,
) -> Callable[[str, str, nn.Module], nn.Module | None]:
    """A maker of remaps by name, for `augment(..., remap=…)`.

    Args:
        name: one of REMAPPINGS.
        adder_scale: b of adder layers, one for all or by layer name, "determined through prior knowledge": see
            `laplace_scales`.
        trained: weights by layer name of the target network trained by itself, which those of FITTED are fitted to.
    Raises: InputError for an unknown name, a scale that is not positive or, once the maker meets its layer, not there,
        or one of FITTED without weights.
    """
    check_choice("name", name, REMAPPINGS)
    by_layer = isinstance(adder_scale, Mapping)
    for where, each in adder_scale.items() if by_layer else [("", adder_scale)]:  # type: ignore[union-attr]
        check_number(f"adder_scale[{where!r}]" if by_layer else "adder_scale", each, above=0)
    if name in FITTED and trained is None:
        raise InputError(f"trained=None is not allowed with {name!r}; it is fitted to trained weights.")

    def make(layer_name: str, op: str, layer: nn.Module) -> nn.Module | None:
        scale: Any = None
        if op == "adder":
            if by_layer and layer_name not in adder_scale:  # type: ignore[operator]
                raise InputError(f"adder_scale has no scale of {layer_name!r}, which is an adder layer.")
            scale = adder_scale[layer_name] if by_layer else adder_scale  # type: ignore[index]
        refuse_untrained(name, trained, layer_name, layer)
        if name in FITTED:
            inner = None if name == "linear_skip_freeze" else LaplaceRemap(scale)
            return FITTED[name](trained[layer_name], inner)  # type: ignore[index]
        makers = {
            "laplace": lambda: LaplaceRemap(scale),
            "small_laplace": lambda: LaplaceRemap(scale, added=op == "shift"),
            "linear": lambda: LinearRemap(layer.weight),
            "kernel": lambda: KernelRemap(),
            "kernel_from_one": lambda: KernelRemap(random=False),
            "kl_only": lambda: PenaltyOnly(),
            "kl_averaged": lambda: PenaltyOnly(averaged=True),
            "laplace_even": lambda: LaplaceRemap(scale, even=True),
            "scaled": lambda: ScaledRemap(scale),
            "laplace_own": lambda: LaplaceRemap(scale, own=True),
        }
        return makers[name]()

    return make


def refuse_untrained(name: str, trained: Any, layer_name: str, layer: nn.Module) -> None:
    """InputError where weights to fit to are missing, or those of another kernel."""
    if name in FITTED:
        refuse(layer_name not in trained, f"trained has no weights of {layer_name!r}, which {name!r} is fitted to.")
        given, taps = tuple(trained[layer_name].shape), tuple(layer.weight.shape[2:])
        refuse(
            given[2:] != taps,
            f"trained[{layer_name!r}] has the shape {given}; the layer's filters end in {taps}.",
        )


def laplace_scales(model: nn.Module, layers: type | tuple[type, ...]) -> dict[str, float]:
    """b of a Laplace distribution fitted by maximum likelihood to each layer's weights: mean distance to their median.

    The recorded step behind "these two values need to be determined through prior knowledge" (Sec. 3.3).
    """
    weights = {name: m.weight.detach().double() for name, m in model.named_modules() if isinstance(m, layers)}  # type: ignore[attr-defined]
    return {name: (weight - weight.median()).abs().mean().item() for name, weight in weights.items()}
