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

import math
from collections.abc import Callable

import torch
from torch import nn

from repro.errors import InputError, check_choice

MODES = ("adder", "all", "none")


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
        if (convolution or isinstance(module, adders)) and id(module.weight) not in seen:
            seen.add(id(module.weight))
            found[f"{name}.weight" if name else "weight"] = module.weight
    return found


class AdaptiveLR(torch.optim.Optimizer):
    """Rescale each adder (and convolution) layer's gradient to root mean square `eta`, then step `optimizer`.

    Args:
        optimizer: any torch optimiser that already holds the model's parameters.
        model: where the layers are looked up (once, now).
        mode: "adder" (adder layers only), "all" (adder and convolution layers) or "none" (plain optimiser).
        eta: root mean square of a rescaled gradient; the paper trains with 1/15, AdderNet with 0.2.

    A layer whose gradient is None (an inactive path of a supernet, after `zero_grad()`) is skipped by torch's own
    optimisers and left alone here. A gradient that is exactly zero stays zero: no division by zero, no NaN. NaN and
    Inf pass through, for the training loop to report. Schedulers, `param_groups`, `state_dict` and `load_state_dict`
    reach the wrapped optimiser, so a checkpoint written with one mode loads with another.
    """

    def __init__(self, optimizer: torch.optim.Optimizer, model: nn.Module, *, mode: str = "adder", eta: float = 1 / 15):
        if not isinstance(eta, int | float) or not 0 < eta < math.inf:
            raise InputError(f"eta={eta!r} is not allowed; it must be a positive number.")
        self.inner = optimizer
        self.mode = mode
        self.eta = float(eta)
        self.layers = rescaled_layers(model, mode)
        held = {id(parameter) for group in optimizer.param_groups for parameter in group["params"]}
        absent = [name for name, parameter in self.layers.items() if id(parameter) not in held]
        if absent:
            raise InputError(f"optimizer does not hold {absent[0]}; build it from the parameters of the same model.")

    # Everything a scheduler or a checkpoint reads belongs to the wrapped optimiser.
    param_groups = property(lambda self: self.inner.param_groups)
    state = property(lambda self: self.inner.state)
    defaults = property(lambda self: self.inner.defaults)

    def state_dict(self) -> dict:
        """The wrapped optimiser's state; the rescaling itself keeps none."""
        return self.inner.state_dict()

    def load_state_dict(self, state_dict: dict) -> None:
        self.inner.load_state_dict(state_dict)

    def add_param_group(self, param_group: dict) -> None:
        self.inner.add_param_group(param_group)

    def zero_grad(self, set_to_none: bool = True) -> None:
        self.inner.zero_grad(set_to_none=set_to_none)

    def __repr__(self) -> str:
        return f"AdaptiveLR(mode={self.mode!r}, eta={self.eta:.4g}, layers={len(self.layers)}, {self.inner!r})"

    @torch.no_grad()
    def step(self, closure: Callable[[], torch.Tensor] | None = None):
        """One step of the wrapped optimiser on rescaled gradients; `.grad` is put back afterwards.

        A closure is evaluated once, before the rescaling (optimisers that call it repeatedly are not supported).
        """
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        active = [parameter for parameter in self.layers.values() if parameter.grad is not None]
        originals = [parameter.grad for parameter in active]
        for parameter, gradient in zip(active, self._rescaled(originals)):
            parameter.grad = gradient
        try:
            self.inner.step()
        finally:
            for parameter, gradient in zip(active, originals):
                parameter.grad = gradient
        return loss

    def _rescaled(self, gradients: list[torch.Tensor]) -> list[torch.Tensor]:
        if not gradients:
            return []
        norms = torch.stack([norm.float() for norm in torch._foreach_norm(gradients)])
        targets = norms.new_tensor([self.eta * math.sqrt(gradient.numel()) for gradient in gradients])
        scales = torch.where(norms == 0, torch.zeros_like(norms), targets / norms)
        return [gradient * scale.to(gradient.dtype) for gradient, scale in zip(gradients, scales.unbind())]
