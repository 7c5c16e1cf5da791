"""The adaptive learning rate of adder networks, as a wrapper around any torch optimiser.

    alpha_l = eta * sqrt(k) / ||g_l||_2            (AdderNet, eq. 12; ACGhostNet, Sec. 3.1)

g_l is the gradient of layer l's filters and k their number. Just before a step, g_l is replaced by alpha_l * g_l, whose
root mean square is eta in every layer, whatever the depth. The wrapped optimiser then does what it always does, so with
plain SGD the update of a rescaled layer is

    F_l  <-  F_l - lr(t) * eta * sqrt(k) / ||g_l||_2 * g_l

The schedule's global rate lr(t) multiplies, as in the authors' code. Weight decay and momentum come after the
rescaling: decay is added to the rescaled gradient (it is not rescaled itself) and the momentum buffer averages rescaled
gradients, so an early, huge gradient leaves no trace. The authors' release rescales inside `backward`, where gradient
accumulation sums already rescaled pieces; here `backward` stays the operator's documented surrogate, micro-batches add
up first, and `.grad` reads the same after the step as before it.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable

import torch
from torch import nn

from repro.errors import InputError, check_choice, check_number

MODES = ("adder", "all", "none")


def _trainable(module: nn.Module) -> tuple[str, nn.Parameter] | None:
    """Name and tensor that training changes when it changes the layer's filters.

    Pruning and spectral norm keep the filters as `weight_orig`, weight normalisation their direction as `weight_v`
    (its gain follows the plain gradient, like a batch norm's), parametrisations either as `original` or `original1`.
    """
    own = dict(module.named_parameters())
    original = "parametrizations.weight.original"
    names = ("weight", "weight_orig", "weight_v", original, f"{original}1")
    return next(((name, own[name]) for name in names if name in own), None)


def rescaled_layers(model: nn.Module, mode: str) -> dict[str, nn.Parameter]:
    """Filters (by dotted name) whose gradient is rescaled: adder layers, adder and convolution layers, or none.

    Linear layers, biases and batch-norm parameters are never rescaled, nor is a convolution with a bias of its own.
    That one (GhostNet's SE and its 1x1 head) has no batch norm after it to absorb its scale: steps of fixed length,
    whatever the gradient, kill its ReLU within a few epochs and leave a constant network. The paper does not say which
    convolutions it means. A filter used twice is listed once.
    """
    from repro.layers import AdderConv2d, AdderLinear

    check_choice("mode", mode, MODES)
    adders = () if mode == "none" else (AdderConv2d, AdderLinear)
    found, seen = {}, set()
    for name, module in model.named_modules():
        convolution = mode == "all" and isinstance(module, nn.Conv2d) and module.bias is None
        trainable = _trainable(module) if convolution or isinstance(module, adders) else None
        if trainable is not None and id(trainable[1]) not in seen:
            seen.add(id(trainable[1]))
            found[f"{name}.{trainable[0]}" if name else trainable[0]] = trainable[1]
    return found


SAFE_NORM = 1e-12
"""Norms from here to the type's largest number are right as summed; below, squares of small elements are lost."""


def rescaled(gradients: list[torch.Tensor], eta: float) -> list[torch.Tensor]:
    """Each gradient times eta * sqrt(k) / its norm: root mean square `eta`, in its own type and on its own device.

    Norms are summed in float32 (float64 for float64 gradients). Where the squares leave that type's range, the gradient
    is first divided by its largest element. A gradient of zeros stays zero, NaN stays NaN.
    """
    if not gradients:
        return []
    wide = [g.float() if g.dtype in (torch.float16, torch.bfloat16) else g for g in gradients]
    first = wide[0].device
    norms = torch.stack([norm.to(first) for norm in torch._foreach_norm(wide)])
    targets = [eta * math.sqrt(gradient.numel()) for gradient in gradients]
    scales = torch.where(norms == 0, torch.zeros_like(norms), norms.new_tensor(targets) / norms)
    done = []
    for gradient, narrow, norm, scale, target in zip(wide, gradients, norms.tolist(), scales.unbind(), targets):
        if norm < SAFE_NORM or norm == math.inf:
            gradient, scale = _large_and_even(gradient, target)
        done.append((gradient * scale.to(gradient.device)).to(narrow.dtype))
    return done


def _large_and_even(gradient: torch.Tensor, target: float) -> tuple[torch.Tensor, torch.Tensor]:
    """(unit, scale): the gradient over its largest element, and what brings that to norm `target`."""
    largest = gradient.abs().max()
    if largest == 0:
        return gradient, largest
    unit = gradient / largest
    return unit, target / unit.norm()


class AdaptiveLR(torch.optim.Optimizer):
    """Rescale each adder (and convolution) layer's gradient to root mean square `eta`, then step `optimizer`.

    Args:
        optimizer: any torch optimiser that already holds the model's parameters.
        model: where the layers are looked up (once, now).
        mode: "adder" (adder layers only), "all" (adder and convolution layers) or "none" (plain optimiser).
        eta: root mean square of a rescaled gradient; the paper trains with 1/15, AdderNet with 0.2.

    A layer whose gradient is None (frozen, an inactive path of a supernet, after `zero_grad()`) is skipped by torch's
    own optimisers and left alone here. A gradient that is exactly zero stays zero: no division by zero, no NaN. NaN and
    Inf pass through, for the training loop to report. `param_groups`, `state`, `defaults`, `state_dict` and
    `load_state_dict` are the wrapped optimiser's, so a checkpoint written with one mode loads with another. Hooks are
    this optimiser's own; copies and pickles carry settings and state but, as in torch, no hooks.
    """

    def __init__(self, optimizer: torch.optim.Optimizer, model: nn.Module, *, mode: str = "adder", eta: float = 1 / 15):
        if not isinstance(optimizer, torch.optim.Optimizer):
            raise InputError(f"optimizer is a {type(optimizer).__name__}; it must be a torch.optim.Optimizer.")
        closure = inspect.signature(optimizer.step).parameters.get("closure")
        if closure is not None and closure.default is inspect.Parameter.empty:
            raise InputError(
                f"optimizer is a {type(optimizer).__name__}, which evaluates a closure several times a step; gradients "
                "are rescaled once a step, so take one that does without."
            )
        if not isinstance(model, nn.Module):
            raise InputError(f"model is a {type(model).__name__}; it must be a torch.nn.Module.")
        check_number("eta", eta, above=0)
        layers = rescaled_layers(model, mode)
        held = {id(parameter) for group in optimizer.param_groups for parameter in group["params"]}
        absent = [name for name, p in layers.items() if p.requires_grad and id(p) not in held]
        if absent:
            raise InputError(f"optimizer does not hold {absent[0]}; build it from the parameters of the same model.")
        self.__setstate__({"inner": optimizer, "mode": mode, "eta": float(eta), "layers": layers})

    def __getstate__(self) -> dict:
        return {name: self.__dict__[name] for name in ("inner", "mode", "eta", "layers")}

    # Everything a scheduler or a checkpoint reads or sets belongs to the wrapped optimiser.
    param_groups = property(
        lambda self: self.inner.param_groups, lambda self, v: setattr(self.inner, "param_groups", v)
    )
    state = property(lambda self: self.inner.state, lambda self, v: setattr(self.inner, "state", v))
    defaults = property(lambda self: self.inner.defaults, lambda self, v: setattr(self.inner, "defaults", v))

    def state_dict(self) -> dict:
        """The wrapped optimiser's state; the rescaling itself keeps none."""
        for before in self._optimizer_state_dict_pre_hooks.values():
            before(self)
        state_dict = self.inner.state_dict()
        for after in self._optimizer_state_dict_post_hooks.values():
            changed = after(self, state_dict)
            state_dict = state_dict if changed is None else changed
        return state_dict

    def load_state_dict(self, state_dict: dict) -> None:
        state_dict = state_dict.copy()
        for before in self._optimizer_load_state_dict_pre_hooks.values():
            changed = before(self, state_dict)
            state_dict = state_dict if changed is None else changed
        self.inner.load_state_dict(state_dict)
        for after in self._optimizer_load_state_dict_post_hooks.values():
            after(self)

    def add_param_group(self, param_group: dict) -> None:
        self.inner.add_param_group(param_group)

    def zero_grad(self, set_to_none: bool = True) -> None:
        self.inner.zero_grad(set_to_none=set_to_none)

    def __repr__(self) -> str:
        return f"AdaptiveLR(mode={self.mode!r}, eta={self.eta:.4g}, layers={len(self.layers)}, {self.inner!r})"

    @torch.no_grad()
    def step(self, closure: Callable[[], torch.Tensor] | None = None) -> torch.Tensor | None:
        """One step of the wrapped optimiser on rescaled gradients; `.grad` is put back afterwards.

        A closure is evaluated once, before the rescaling (optimisers that call it repeatedly are not supported).
        """
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        active = [parameter for parameter in self.layers.values() if parameter.grad is not None]
        originals = [parameter.grad for parameter in active]
        for parameter, gradient in zip(active, rescaled(originals, self.eta)):
            parameter.grad = gradient
        try:
            self.inner.step()
        finally:
            for parameter, gradient in zip(active, originals):
                parameter.grad = gradient
        return loss
