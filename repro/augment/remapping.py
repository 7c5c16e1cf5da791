"""R: from the weights in memory to those that the target part computes with (ShiftAddAug Sec. 3.3, equation 5).

    R(W) = r(FC(W)),   r = ppf_laplace(cpf_gauss(.))

Weights in memory stay Gaussian and are shared by both parts; R acts at every forward, on the target part. A remap is a
module `forward(weight, *, mean, std)`; mean and std are those of the whole wide tensor, constants to the gradient.
`remapping(name, …)` gives what `augment(..., remap=…)` takes. Beside the paper's R it knows what table 8 compares with.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

from repro.augment.remap import TransformationKernel, to_laplacian
from repro.errors import InputError, check_choice, check_number

SMALL = 0.1
"""Scale of the small Laplace part of shift weights, in deviations ("a Laplace distribution with a small variance")."""
PENALTY = 10.0
"""Weight of the divergence that ShiftAddNAS adds to the loss."""


class LaplaceRemap(nn.Module):
    """R with FC the identity: the weights of an adder, or of a shift layer, from Gaussian ones.

    Args:
        scale: b of the Laplace distribution; None makes its deviation that of the weights, b = std / sqrt(2).
        added: W + r(W) with b = SMALL std instead: the convolution's weights plus a small Laplace part.
    Raises: InputError for a scale that is not positive.
    """

    def __init__(self, scale: float | None = None, *, added: bool = False):
        super().__init__()
        self.scale = None if scale is None else float(check_number("scale", scale, above=0))
        self.added = added

    def _scale(self, std: Tensor) -> Tensor | float:
        if self.scale is not None:
            return self.scale
        return SMALL * std if self.added else std / math.sqrt(2.0)

    def forward(self, weight: Tensor, *, mean: Tensor, std: Tensor) -> Tensor:
        """Remapped weights in the shape of `weight`; the weights themselves where they do not differ at all."""
        std = std.clamp_min(torch.finfo(weight.dtype).tiny)
        remapped = to_laplacian(weight, mean, std, self._scale(std))
        return weight + remapped if self.added else remapped

    def deviation(self, std: Tensor) -> Tensor:
        """Standard deviation of what Gaussian weights of deviation `std` become."""
        laplace = self._scale(std) * math.sqrt(2.0) * torch.ones_like(std)
        # Gaussian scores and their Laplace counterparts correlate by 0.981 (E[z r(z)] at b = 1/sqrt 2).
        return (std**2 + laplace**2 + 2 * 0.981 * std * laplace).sqrt() if self.added else laplace

    def extra_repr(self) -> str:
        return f"scale={self.scale}" + (", added" if self.added else "")


class FittedRemap(nn.Module):
    """R whose FC was fitted before the training and stays as it is: r(W + Linear(W)) over the filters' k x k values.

    Args:
        weight: weights (C_out, C_in, k, k) of the same layer of a network trained by itself: the linear part is the
            least-squares one that takes them, filter by filter, to the normal scores of their ranks.
        inner: r.
    """

    def __init__(self, weight: Tensor, inner: LaplaceRemap):
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
        """r(FC(W))."""
        return self.inner(self.corrected(weight), mean=mean, std=std)

    def deviation(self, std: Tensor) -> Tensor:
        """As the inner remap's."""
        return self.inner.deviation(std)


def normal_scores(weight: Tensor) -> Tensor:
    """What the weights would be if they were Gaussian with their mean and deviation and in the same order."""
    flat = weight.reshape(-1)
    ranks = torch.empty_like(flat)
    ranks[flat.argsort(stable=True)] = torch.arange(1, flat.numel() + 1, dtype=flat.dtype)
    scores = torch.special.ndtri((ranks - 0.5) / flat.numel())
    return (flat.mean() + flat.std(correction=0) * scores / scores.std(correction=0)).reshape(weight.shape)


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
        wanted = sample.softmax(0)
        return PENALTY * (wanted * (wanted.log() - remapped.log_softmax(0))).mean()


class PenaltyOnly(nn.Module):
    """No remapping: a penalty pulls the target's weights to the Gaussian of the whole layer (table 8)."""

    def forward(self, weight: Tensor, *, mean: Tensor, std: Tensor) -> Tensor:
        """The weights themselves."""
        return weight

    def deviation(self, std: Tensor) -> Tensor:
        """That of the weights."""
        return std

    def penalty(self, weight: Tensor, whole: Tensor) -> Tensor:
        """PENALTY times KL(N(target) || N(whole)), by mean and deviation; the whole is a constant."""
        mean, std = whole.detach().mean(), whole.detach().std(correction=0)
        own = weight.std(correction=0)
        distance = (own**2 + (weight.mean() - mean) ** 2) / (2 * std**2)
        return PENALTY * (torch.log(std / own) + distance - 0.5)


REMAPPINGS = (
    "laplace", "small_laplace", "linear_skip_freeze", "linear", "kernel", "kernel_from_one",
    "kl_only",
)  # fmt: skip
"""Ours (equation 5), the reading of Sec. 3.3 for shift, the fitted FC, and what table 8 compares with."""
ADDER_SCALE = 1 / math.sqrt(2)
"""b of adder weights where none was measured: deviation 1, with which adder layers start."""


def remapping(
    name: str, *, adder_scale: float = ADDER_SCALE, trained: Mapping[str, Tensor] | None = None
) -> Callable[[str, str, nn.Module], nn.Module | None]:
    """A maker of remaps by name, for `augment(..., remap=…)`.

    Args:
        name: one of REMAPPINGS.
        adder_scale: b of adder layers, "determined through prior knowledge": see `laplace_scales`.
        trained: weights by layer name of the target network trained by itself, which "linear_skip_freeze" is fitted to.
    Raises: InputError for an unknown name, a scale that is not positive, or "linear_skip_freeze" without weights.
    """
    check_choice("name", name, REMAPPINGS)
    check_number("adder_scale", adder_scale, above=0)
    if name == "linear_skip_freeze" and trained is None:
        raise InputError("trained=None is not allowed with 'linear_skip_freeze'; it is fitted to trained weights.")

    def make(layer_name: str, op: str, layer: nn.Module) -> nn.Module | None:
        scale = adder_scale if op == "adder" else None
        if name == "linear_skip_freeze":
            return FittedRemap(trained[layer_name], LaplaceRemap(scale))
        makers = {
            "laplace": lambda: LaplaceRemap(scale),
            "small_laplace": lambda: LaplaceRemap(scale, added=op == "shift"),
            "linear": lambda: LinearRemap(layer.weight),
            "kernel": lambda: KernelRemap(),
            "kernel_from_one": lambda: KernelRemap(random=False),
            "kl_only": lambda: PenaltyOnly(),
        }
        return makers[name]()

    return make


def laplace_scales(model: nn.Module, layers: type | tuple[type, ...]) -> dict[str, float]:
    """b of a Laplace distribution fitted by maximum likelihood to each layer's weights: mean distance to their median.

    The recorded step behind "these two values need to be determined through prior knowledge" (Sec. 3.3).
    """
    weights = {name: m.weight.detach().double() for name, m in model.named_modules() if isinstance(m, layers)}
    return {name: (weight - weight.median()).abs().mean().item() for name, weight in weights.items()}
