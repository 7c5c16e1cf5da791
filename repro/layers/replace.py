"""Putting new layers in the place of others in a model, with what hangs on them: hooks, modes, shared parameters."""

from __future__ import annotations

from collections.abc import Mapping

from torch import nn

from repro.layers.geometry import REMAKES
from repro.layers.shiftadd import ShiftAddConv2d, ShiftAddLinear

_CALLED = tuple(name for name in vars(nn.Module()) if "forward" in name or "backward" in name)
_STORED = ("_state_dict_hooks", "_state_dict_pre_hooks", "_load_state_dict_pre_hooks", "_load_state_dict_post_hooks")
_LABELS = ("cost_role", "cost_norm")


def replace_layers(model: nn.Module, new: Mapping[nn.Module, nn.Module]) -> nn.Module:
    """`model` with every key of `new` exchanged for its value, in place; the value itself if `model` is a key.

    Hooks that run with forward and backward, training mode and cost labels go over to the new layers.
    """
    for old, layer in new.items():
        _hand_over(old, layer)
    if model in new:
        return new[model]
    for parent in list(model.modules()):
        for name, child in list(parent._modules.items()):
            if child in new:
                setattr(parent, name, new[child])
    _keep_off_fast_paths(model)
    return model


def _hand_over(old: nn.Module, layer: nn.Module) -> None:
    for name in _CALLED:
        setattr(layer, name, vars(old)[name])  # the very dictionaries, so that the handles of hooks still remove them
    if any(isinstance(hook, REMAKES) for hook in old._forward_pre_hooks.values()):
        kept = {key: hook for key, hook in old._forward_pre_hooks.items() if not isinstance(hook, REMAKES)}
        layer._forward_pre_hooks = type(old._forward_pre_hooks)(kept)
    for name in _LABELS:
        if name in vars(old):
            setattr(layer, name, vars(old)[name])
    layer.train(old.training)


def lost_hooks(old: nn.Module) -> str:
    """What the report says of hooks that cannot go over, or ''."""
    return "its state-dict hooks were dropped" if any(vars(old)[name] for name in _STORED) else ""


def _keep_off_fast_paths(model: nn.Module) -> None:
    """In evaluation torch's transformer layers multiply by `linear1.weight` without calling the layer; not by ours."""
    guarded = set()
    for module in model.modules():
        if isinstance(module, nn.TransformerEncoderLayer):
            if any(type(linear) is not nn.Linear for linear in (module.linear1, module.linear2)):
                module.activation_relu_or_gelu = 0  # the condition that torch asks before it takes the fast path
                guarded.add(module)
    for module in model.modules():
        if isinstance(module, nn.TransformerEncoder) and guarded.intersection(module.layers):
            module.use_nested_tensor = False


def _places(layer: nn.Module, name: str) -> tuple[nn.Module, tuple[str, ...]]:
    """The module, and its parameters, that stand for a layer's "weight" or "bias"."""
    names = ("weight", "shift", "sign") if name == "weight" else ("bias",)
    if isinstance(layer, (ShiftAddConv2d, ShiftAddLinear)):
        layer = layer.shift if name == "weight" else layer.add
    return layer, tuple(n for n in names if layer._parameters.get(n) is not None)


def keep_ties(model: nn.Module, new: Mapping[nn.Module, nn.Module]) -> dict[nn.Module, str]:
    """Parameters that several modules share stay shared between their new layers; call it before `replace_layers`.

    Returns: for each layer whose tie to a module that stays as it is breaks, a sentence for the report.
    """
    broken: dict[nn.Module, str] = {}
    names = {module: name for name, module in model.named_modules()}
    for part in ("weight", "bias"):
        owners: dict[tuple, list[nn.Module]] = {}
        for old in new:
            holder, own = _places(old, part)
            if own:
                owners.setdefault(tuple(id(holder._parameters[n]) for n in own), []).append(old)
        for key, olds in owners.items():
            (first, own), (old, old_own) = _places(new[olds[0]], part), _places(olds[0], part)
            for other in olds[1:]:
                for n in own:
                    _places(new[other], part)[0]._parameters[n] = first._parameters[n]
            staying = [m for m in names if m not in new and any(id(p) in key for p in m._parameters.values())]
            if not staying or old in staying:
                continue
            if own == old_own == (part,) and _same(first._parameters[part], old._parameters[part]):
                for each in olds:
                    _places(new[each], part)[0]._parameters[part] = old._parameters[part]
            else:
                broken |= {each: f"its {part} is no longer shared with {names[staying[0]]}" for each in olds}
    return broken


def _same(ours: nn.Parameter, theirs: nn.Parameter) -> bool:
    return ours.shape == theirs.shape and bool((ours == theirs).all())
