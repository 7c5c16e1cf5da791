"""One wide weight of which every step uses a slice: multiplication-free filters beside ordinary ones (eq. 4).

Channels split into a target part t (the first ones) and an augmented part a. MF is the target's operator, a shift or an
adder layer, M an ordinary one; weights of both parts lie in one tensor, so that channels can change places:

    dense      Y_t = MF(X_t) + M(X_a)     Y_a = M(X)       Y = cat(Y_t, Y_a)
    depthwise  Y_t = MF(X_t)              Y_a = M(X_a)     Y = cat(Y_t, Y_a)
    classifier Y   = MF(X_t) + M(X_a)

How many input channels are there says the input; how many outputs are wanted says `active`. The bias of the target
rows goes with MF, as the paper asks; the other rows keep theirs.

Either way M is one convolution over all of X. A shift layer computes a convolution with rounded weights, so its filters
stand in the target's place of that one; in the wider network all of X is then on the fixed-point grid (2^-17 away at
16.16), in the target exactly what the target reads. An adder computes no product: zeros stand in its place, and what it
computes of X_t is added to the first channels.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional

from repro.errors import InputError, refuse
from repro.layers import make_conv2d, make_linear
from repro.ops import adder_conv2d, adder_linear, fixed_point_round, round_to_power_of_two, shift_conv2d, shift_linear
from repro.ops.quantize import FIXED_POINT
from repro.train.distributed import GlobalBatchNorm2d
from repro.train.evaluate import statistics_are_shared

WEIGHT_BITS = 5
"""Bits of a shift weight (Sec. 4.1: 5-bit powers of two); activations are the shift layer's default."""


@contextmanager
def drawn_apart() -> Iterator[None]:
    """Random numbers of their own: what is drawn inside leaves what is drawn behind it as it would be without."""
    seed = int(torch.randint(2**62, (), device="cpu"))
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        yield


class _Wide(nn.Module):
    """What wide convolutions and wide linear layers share.

    Args:
        layer: the multiplicative layer of the target network; its geometry is kept.
        op: operator of the target part, "conv", "shift", "adder" or "shiftadd". The adder half of "shiftadd" works on
            the target's outputs alone: it is `add`, a layer of its own, and no exchange of channels moves it.
        channels: (inputs, outputs) of the widest network.
        around: operator of everything else: "conv", or `op` itself, which then computes the whole layer.
        remap: R of equation 5, a module that maps the raw weights of the target part, or None.
    Raises: InputError for `around` the same as `op` where that is "shiftadd" or has a remap: the whole layer then
        computes with its raw weights.
    Attributes: `multiplicative`: whether the target part is a convolution (still); `active`: outputs wanted.
    State dict: `weight` (outputs, inputs, …) and `bias` (outputs,) of the widest network; `remap.*`, `add.weight`.
    """

    dim: int
    """Dimension of an activation that holds its channels."""

    def __init__(
        self, layer: nn.Module, op: str, channels: tuple[int, int], around: str = "conv", remap: nn.Module | None = None
    ):
        super().__init__()
        if around == op == "shiftadd":
            raise InputError("around='same' is not allowed with op='shiftadd'; its adder half is the target's alone.")
        if around == op and remap is not None:
            raise InputError(
                f"around={around!r} is not allowed with a remap of op={op!r}; R is for a target among convolutions."
            )
        self.remap: Any
        self.add: Any
        self.op, self.around, self.remap = op, around, remap
        self.multiplicative = op == "conv"
        self.depthwise = getattr(layer, "groups", 1) > 1
        self.target = self._sizes(layer)
        self.widest = channels
        self.active = channels[1]
        shape = (channels[1], 1 if self.depthwise else channels[0], *layer.weight.shape[2:])
        self.weight = nn.Parameter(layer.weight.new_empty(shape))
        self.bias = None if layer.bias is None else nn.Parameter(layer.bias.new_zeros(channels[1]))
        with drawn_apart():
            self.add = self._plain(op, bias=False).add.to(layer.weight) if op == "shiftadd" else None
        self.reset_parameters()

    @torch.no_grad()
    def reset_parameters(self) -> None:
        """Uniform by the total fan-in, target and augmented part alike, as NetAug; bare adder filters N(0, 1).

        The uniform numbers of a seed are the same whatever the operator.
        """
        bound = self.weight[0].numel() ** -0.5
        nn.init.uniform_(self.weight, -bound, bound)
        with drawn_apart():
            if self.op == "adder" and self.remap is None:
                nn.init.normal_(self.target_part(self.weight))
        if self.bias is not None:
            nn.init.zeros_(self.bias)

    def target_part(self, tensor: Tensor) -> Tensor:
        """The part of a tensor in the shape of `weight` that belongs to the target's own filters, a view."""
        if self.around == self.op:
            return tensor
        return self.of_target(tensor)

    def raw_target_weight(self) -> Tensor:
        """The target part of the weight in memory, a view."""
        return self.of_target(self.weight)

    def of_target(self, tensor: Tensor) -> Tensor:
        """The target's rows and columns of a tensor in the shape of `weight`, a view."""
        inputs, outputs = self.target
        return tensor[:outputs] if self.depthwise else tensor[:outputs, :inputs]

    def penalty(self) -> Tensor | None:
        """What the remap adds to the loss of a step, None if it adds nothing."""
        if self.multiplicative or not hasattr(self.remap, "penalty"):
            return None
        return self.remap.penalty(self.raw_target_weight(), self.weight)

    def memory_scale(self) -> float | Tensor:
        """How much smaller than the remapped weights those in memory are; 1 without R."""
        if self.remap is None:
            return 1.0
        _, std = self._statistics()
        return std / self.remap.deviation(std)

    def _statistics(self) -> tuple[Tensor, Tensor]:
        """Mean and deviation that R goes by, constants to the gradient."""
        part = self.raw_target_weight() if getattr(self.remap, "own", False) else self.weight
        return part.detach().mean(), part.detach().std(correction=0)

    def target_weight(self) -> Tensor:
        """The weights that the target part computes with, before rounding: R(W), or W itself.

        R goes by mean and deviation of the whole wide tensor, which no exchange of channels changes, unless it asks for
        those of the target's part.
        """
        raw = self.raw_target_weight()
        if self.remap is None or self.multiplicative:
            return raw
        mean, std = self._statistics()
        return self.remap(raw, mean=mean, std=std)

    def forward(self, x: Tensor) -> Tensor:
        refuse(
            x.shape[self.dim] < self.target[0],
            f"x has {x.shape[self.dim]} channels; a layer of this network reads {self.target[0]} or more.",
        )
        inputs, outputs = x.shape[self.dim], x.shape[self.dim] if self.depthwise else self.active
        (target_in, target_out), op = self.target, "conv" if self.multiplicative else self.op
        bias = None if self.bias is None else self.bias[:outputs]
        if op == "conv" or self.around == op:
            return self._compute(op, x, self._slice(inputs, outputs), bias)
        if (inputs, outputs) == self.target:
            return self._compute(op, x, _laid_out(self.target_weight()), bias)
        if op == "shift":
            weight = round_to_power_of_two(self.target_weight(), WEIGHT_BITS)
            if bias is not None:
                bias = torch.cat([fixed_point_round(bias[:target_out], *FIXED_POINT), bias[target_out:]])
            return self._compute("conv", fixed_point_round(x, *FIXED_POINT), self._among(weight, x), bias)
        weight = self.target_weight()
        y = self._compute("conv", x, self._among(torch.zeros_like(weight), x), bias)
        y_t = self._compute(op, _First.apply(x, target_in, self.dim), _laid_out(weight), None)
        return _AddToFirst.apply(y, y_t, self.dim)

    def _slice(self, inputs: int, outputs: int) -> Tensor:
        weight = self.weight[:outputs] if self.depthwise else self.weight[:outputs, :inputs]
        return _laid_out(weight)

    def _among(self, block: Tensor, x: Tensor) -> Tensor:
        """The active weights for an input `x`, with `block` in the place of the target's."""
        (target_in, target_out), inputs = self.target, x.shape[self.dim]
        if self.depthwise:
            return torch.cat([block, self.weight[target_out:inputs]], 0)
        if inputs > target_in:
            block = torch.cat([block, self.weight[:target_out, target_in:inputs]], 1)
        if self.active > target_out:
            block = torch.cat([block, self.weight[target_out : self.active, :inputs]], 0)
        return block

    @torch.no_grad()
    def deployed(self) -> nn.Module:
        """The target part as a layer of its own, R(W) written out."""
        op, outputs = ("conv" if self.multiplicative else self.op), self.target[1]
        layer = self._plain(op, bias=self.bias is not None).to(self.weight)
        first, last = (layer.shift, layer.add) if op == "shiftadd" else (layer, layer)
        first.weight.copy_(self.target_weight())
        if op == "shiftadd":
            last.weight.copy_(self.add.weight)
        if self.bias is not None:
            last.bias.copy_(self.bias[:outputs])
        return layer.train(self.training)

    def permute_(self, order: Tensor, *, outputs: bool, inputs: bool) -> None:
        """Exchange channels in place: `order` says which old channel comes to each place."""
        for tensor in (self.weight, self.bias):
            if tensor is not None:
                permute(tensor, order, rows=outputs, columns=inputs)

    def extra_repr(self) -> str:
        return f"{self.op}, target={self.target}, widest={self.widest}" + (", depthwise" if self.depthwise else "")


def _laid_out(weight: Tensor) -> Tensor:
    """A weight in the layout of a new layer's: strides of a dimension of one, too, decide how a convolution adds up."""
    return weight.contiguous().view(-1).view(weight.shape)


def _format(x: Tensor) -> torch.memory_format:
    last = x.ndim == 4 and x.is_contiguous(memory_format=torch.channels_last)
    return torch.channels_last if last else torch.contiguous_format


class _First(torch.autograd.Function):
    """The first channels of `x`. Its gradient is laid out as `x` is; a slice's is not, which makes batch norm slow."""

    @staticmethod
    def forward(ctx, x: Tensor, count: int, dim: int) -> Tensor:
        ctx.shape, ctx.place, ctx.format = x.shape, (dim, 0, count), _format(x)
        return x.narrow(*ctx.place).contiguous(memory_format=ctx.format)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, gradient: Tensor):
        like = {"dtype": gradient.dtype, "device": gradient.device}
        whole = torch.empty(ctx.shape, memory_format=ctx.format, **like).zero_()
        whole.narrow(*ctx.place).copy_(gradient)
        return whole, None, None


class _AddToFirst(torch.autograd.Function):
    """`y` with `y_t` added to its first channels, in place."""

    @staticmethod
    def forward(ctx, y: Tensor, y_t: Tensor, dim: int) -> Tensor:
        ctx.place = dim, 0, y_t.shape[dim]
        y.narrow(*ctx.place).add_(y_t)
        ctx.mark_dirty(y)
        return y

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, gradient: Tensor):
        return gradient, gradient.narrow(*ctx.place).contiguous(memory_format=_format(gradient)), None


@torch.no_grad()
def permute(tensor: Tensor, order: Tensor, *, rows: bool, columns: bool) -> None:
    """Reorder the first (`rows`) and the second dimension (`columns`) of a weight, a bias or its momentum, in place."""
    if rows:
        tensor.copy_(tensor[order])
    if columns and tensor.ndim > 1 and tensor.shape[1] > 1:
        tensor.copy_(tensor[:, order])


class WideConv2d(_Wide):
    """A wide convolution: (N, inputs, H, W) to (N, `active`, H_out, W_out); see `_Wide`.

    Raises: InputError for grouped convolutions that are not depthwise.
    """

    dim = 1

    def __init__(self, layer: nn.Conv2d, op: str, channels: tuple[int, int], **options):
        depthwise = layer.groups == layer.in_channels == layer.out_channels
        if layer.groups > 1 and not depthwise:
            raise InputError(
                f"groups={layer.groups} of a convolution from {layer.in_channels} to {layer.out_channels} channels is "
                "not allowed; an augmented layer is dense or depthwise."
            )
        if layer.padding_mode != "zeros":
            raise InputError(f"padding_mode={layer.padding_mode!r} is not allowed; an augmented layer pads with zeros.")
        self.geometry = {name: getattr(layer, name) for name in ("stride", "padding", "dilation")}
        self.kernel_size = layer.kernel_size
        super().__init__(layer, op, channels, **options)

    @staticmethod
    def _sizes(layer: nn.Conv2d) -> tuple[int, int]:
        return layer.in_channels, layer.out_channels

    def _compute(self, op: str, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        groups = x.shape[1] if self.depthwise else 1
        compute = {"conv": functional.conv2d, "adder": adder_conv2d}.get(op, self._shift)
        if op != "shiftadd":
            return compute(x, weight, bias, groups=groups, **self.geometry)
        y = self.add(compute(x, weight, None, groups=groups, **self.geometry))
        return y if bias is None else y + bias.view(-1, 1, 1)

    @staticmethod
    def _shift(x: Tensor, weight: Tensor, bias: Tensor | None, **geometry) -> Tensor:
        weight = round_to_power_of_two(weight, WEIGHT_BITS)
        return shift_conv2d(x, weight, bias, weight_bits=None, activation_bits=FIXED_POINT, **geometry)

    def _plain(self, op: str, *, bias: bool) -> nn.Module:
        groups = self.target[0] if self.depthwise else 1
        return make_conv2d(op, *self.target, self.kernel_size, groups=groups, bias=bias, **self.geometry)  # type: ignore[call-arg]


class WideLinear(_Wide):
    """A wide linear layer: (…, inputs) to (…, `active`); see `_Wide`."""

    dim = -1

    @staticmethod
    def _sizes(layer: nn.Linear) -> tuple[int, int]:
        return layer.in_features, layer.out_features

    def _compute(self, op: str, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        if op == "shiftadd":
            y = self.add(self._compute("shift", x, weight, None))
            return y if bias is None else y + bias
        if op == "shift":
            weight = round_to_power_of_two(weight, WEIGHT_BITS)
            return shift_linear(x, weight, bias, weight_bits=None, activation_bits=FIXED_POINT)
        return {"conv": functional.linear, "adder": adder_linear}[op](x, weight, bias)  # type: ignore[operator]

    def _plain(self, op: str, *, bias: bool) -> nn.Module:
        return make_linear(op, *self.target, bias=bias)


class WideBatchNorm2d(nn.BatchNorm2d):
    """A batch norm of the widest network, of which the channels of the input are used.

    In a process group the statistics are those of all processes' examples (`repro.train.distributed`).
    """

    def __init__(self, norm: nn.BatchNorm2d, channels: int):
        super().__init__(channels, norm.eps, norm.momentum, norm.affine, norm.track_running_stats)
        self.target = norm.num_features
        for tensor in norm.state_dict().values():
            self.to(tensor.device, tensor.dtype if tensor.is_floating_point() else None)
        self.train(norm.training)

    def forward(self, x: Tensor) -> Tensor:
        if self.training and statistics_are_shared():
            return self._over_processes(x)
        used = slice(x.shape[1])
        factor = 0.0 if self.momentum is None else self.momentum
        if self.training and self.track_running_stats:
            self.num_batches_tracked.add_(1)
            factor = 1.0 / float(self.num_batches_tracked) if self.momentum is None else factor
        tracked = (self.running_mean[used], self.running_var[used]) if self.track_running_stats else (None, None)
        affine = (self.weight[used], self.bias[used]) if self.affine else (None, None)
        return functional.batch_norm(x, *tracked, *affine, self.training or tracked[0] is None, factor, self.eps)  # type: ignore[call-arg]

    def _over_processes(self, x: Tensor) -> Tensor:
        options = (self.eps, self.momentum, self.affine, self.track_running_stats)
        norm = GlobalBatchNorm2d(x.shape[1], *options, device="meta")
        used = {name: t[: x.shape[1]] if t.ndim else t for name, t in self.state_dict(keep_vars=True).items()}
        return functional_call(norm, used, (x,))  # running statistics are changed in place

    @torch.no_grad()
    def deployed(self) -> nn.BatchNorm2d:
        """The norm of the target's channels."""
        norm = nn.BatchNorm2d(self.target, self.eps, self.momentum, self.affine, self.track_running_stats)
        for name, value in self.state_dict().items():
            norm.to(value.device, value.dtype if value.ndim else None)
            getattr(norm, name).copy_(value[: self.target] if value.ndim else value)
        return norm.train(self.training)

    def permute_(self, order: Tensor) -> None:
        """Exchange channels in place."""
        for tensor in (self.weight, self.bias, self.running_mean, self.running_var):
            if tensor is not None:
                permute(tensor, order, rows=True, columns=False)
