"""Training weights that are exponents P and signs S: regularisers, optimiser groups, and P kept in its range.

A layer in mode "ps" (`repro.layers.ShiftConv2d`) holds `shift` (P) and `sign` (S); so may any module that gives both
names to parameters of its own, with `weight_bits` beside them where `ShiftTrainer` keeps P in its range.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from repro.errors import InputError, check_choice, check_int, refuse
from repro.ops import shift_exponents

FORMS = ("code", "paper", "conventional", "none")


def shift_modules(model: nn.Module) -> Iterator[nn.Module]:
    """The modules of `model` that hold P and S as parameters of their own."""
    for module in model.modules():
        own = dict(module.named_parameters(recurse=False))
        if "shift" in own and "sign" in own:
            yield module


def adaptive_l2(model: nn.Module, form: str = "code") -> Tensor:
    """The L2 term of exponents and signs, a scalar; a loss takes weight decay / 2 times it.

    Args:
        model: its layers with P and S are summed over, those that share them once; parameters of other layers are
            not in it. Half types are summed in float32.
        form: "code": sum of (2^P)^2 with P as it is trained, not rounded, and without S, as the public code has it;
            "paper": sum of (2^P S)^2 with S ternary and constant, so that a weight of zero is not regularised;
            "conventional": sum of P^2 + S^2, which draws a negative P towards 0 and thus a weight towards ±1;
            "none": 0.
    Raises: InputError for another form, or for a model without P and S (of "none" too: nothing is there to leave out).
    Source: AutoShiftNet, sec. 4.3.
    """
    refuse(not isinstance(model, nn.Module), f"model={model!r} is not allowed; it must be a module.")
    check_choice("form", form, FORMS)
    pairs = {(id(module.shift), id(module.sign)): (module.shift, module.sign) for module in shift_modules(model)}
    if not pairs:
        raise InputError("model has no layer with exponents and signs (mode='ps'); adaptive_l2 has nothing to sum.")
    wide = [
        tuple(tensor.float() if tensor.element_size() < 4 else tensor for tensor in pair) for pair in pairs.values()
    ]
    total = wide[0][0].new_zeros(())
    for shift, sign in wide if form != "none" else ():
        if form == "conventional":
            total = total + shift.square().sum() + sign.square().sum()
        else:
            squares = torch.exp2(2 * shift)
            total = total + (squares if form == "code" else squares * (sign.detach().abs() >= 0.5)).sum()
    return total


def shift_optimizer(
    model: nn.Module, lr: float, weight_decay: float, *, without: nn.Module | None = None
) -> torch.optim.RAdam:
    """RAdam with decoupled weight decay on everything but P and S, whose L2 term belongs to the loss.

    Decoupled: a parameter shrinks by lr x weight_decay per step, as in DeepShift's own RAdam; torch couples by default.

    Args: without: a part of the model whose parameters have another optimiser.
    """
    special = {id(p) for module in shift_modules(model) for p in (module.shift, module.sign)}
    others = set() if without is None else {id(p) for p in without.parameters()}
    trained = [p for p in model.parameters() if p.requires_grad and id(p) not in others]
    groups = [
        {"params": [p for p in trained if id(p) not in special], "weight_decay": weight_decay},
        {"params": [p for p in trained if id(p) in special], "weight_decay": 0.0},
    ]
    if not trained:
        raise InputError("model has no trainable parameters; nothing can be trained.")
    groups = [group for group in groups if group["params"]]
    return torch.optim.RAdam(groups, lr=lr, decoupled_weight_decay=True, foreach=True)


def check_shift_range(weight_bits: int, shift_range: tuple[int, int] | None = None) -> tuple[int, int]:
    """(lowest, highest) P; what `weight_bits` hold where `shift_range` is None.

    Raises: InputError for a range that is empty or that these bits cannot hold.
    """
    held = shift_exponents(weight_bits)
    if shift_range is None:
        return held
    if not isinstance(shift_range, (tuple, list)) or len(shift_range) != 2:
        raise InputError(f"shift_range={shift_range!r} is not allowed; give the lowest and the highest P, or None.")
    low, high = (check_int(f"shift_range[{index}]", value) for index, value in enumerate(shift_range))
    if not held[0] <= low <= high <= held[1]:
        raise InputError(
            f"shift_range={(low, high)} is not allowed; {weight_bits} bits with a ternary sign hold P from {held[0]} "
            f"to {held[1]}, the lowest first."
        )
    return low, high


@torch.no_grad()
def clamp_shifts(model: nn.Module, low: float, high: float) -> None:
    """Put every P of `model` back into [low, high], in place; after each step, whose momentum may carry P outside."""
    for module in shift_modules(model):
        module.shift.clamp_(low, high)
