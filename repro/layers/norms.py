"""Which layers have a normalisation behind them, read from the graph of the model, or from the order of its layers."""

from __future__ import annotations

import operator
from collections.abc import Collection

import torch
import torch.nn.functional as F
from torch import fx, nn

_POOLS = (nn.modules.pooling._MaxPoolNd, nn.modules.pooling._AvgPoolNd)
_POOLS += (nn.modules.pooling._AdaptiveMaxPoolNd, nn.modules.pooling._AdaptiveAvgPoolNd)  # type: ignore[assignment]
_DROPOUTS = nn.modules.dropout._DropoutNd
_PASSING = (nn.Identity, nn.Flatten, nn.Unflatten, nn.PixelShuffle, nn.Upsample, nn.ChannelShuffle, _DROPOUTS, *_POOLS)
_PASSING_FUNCTIONS = {operator.add, operator.iadd, operator.getitem, torch.add, torch.cat, torch.stack, torch.flatten}
_PASSING_FUNCTIONS |= {torch.transpose, torch.permute, torch.reshape, torch.chunk, torch.split, F.dropout, F.pad}
_PASSING_FUNCTIONS |= {F.max_pool2d, F.avg_pool2d, F.adaptive_avg_pool2d, F.interpolate}
_PASSING_METHODS = {"add", "add_", "view", "reshape", "flatten", "transpose", "permute", "contiguous", "chunk", "split"}
_PASSING_METHODS |= {"unsqueeze", "squeeze", "clone", "to", "float"}
_SIZES = {"size", "dim", "numel"}
_NORMS = {F.batch_norm, F.layer_norm, F.group_norm, F.instance_norm, F.rms_norm, F.local_response_norm}


class _Tracer(fx.Tracer):
    def __init__(self, leaves: Collection[nn.Module]) -> None:
        super().__init__()
        self._leaves = leaves

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return m in self._leaves or next(m.children(), None) is None or is_norm(m)


def is_norm(module: nn.Module | None) -> bool:
    """Whether the name of the module's class says that it normalises."""
    return module is not None and "norm" in type(module).__name__.lower()


def without_norm(model: nn.Module, layers: Collection[nn.Module]) -> list[str]:
    """Names of those of `layers` whose outputs reach something else before a normalisation.

    Additions, concatenations, pooling, dropout and changes of shape are looked through. A model that cannot be traced
    (its forward branches on data) is read in the order in which it holds its layers.
    """
    try:
        graph = _Tracer(layers).trace(model)
    except Exception:  # anything at all may happen in a forward that is given proxies
        return _by_order(model, layers)
    modules = dict(model.named_modules())
    calls = [node for node in graph.nodes if node.op == "call_module" and modules[node.target] in layers]
    return list(dict.fromkeys(node.target for node in calls if not _normed(node, modules, set())))


def _normed(node: fx.Node, modules: dict[str, nn.Module], seen: set[fx.Node]) -> bool:
    users = [user for user in node.users if user not in seen and not _only_asks(user)]
    seen.update(users)
    return all(
        _is_norm_call(user, modules) or (_passes(user, modules) and _normed(user, modules, seen)) for user in users
    )


def _is_norm_call(node: fx.Node, modules: dict[str, nn.Module]) -> bool:
    if node.op == "call_module":
        return is_norm(modules[node.target])
    return node.target in _NORMS


def _passes(node: fx.Node, modules: dict[str, nn.Module]) -> bool:
    if node.op == "call_module":
        return isinstance(modules[node.target], _PASSING)
    return node.target in (_PASSING_METHODS if node.op == "call_method" else _PASSING_FUNCTIONS)


def _only_asks(node: fx.Node) -> bool:
    return (node.op == "call_method" and node.target in _SIZES) or (
        node.op == "call_function" and node.target is getattr
    )


def _by_order(model: nn.Module, layers: Collection[nn.Module]) -> list[str]:
    inside = {part for layer in layers for part in layer.modules()} - set(layers)
    leaves = [
        (name, module)
        for name, module in model.named_modules()
        if module in layers
        or (module not in inside and next(module.children(), None) is None and not isinstance(module, _PASSING))
    ]
    following = [module for _, module in leaves[1:]] + [None]
    return [name for (name, module), behind in zip(leaves, following) if module in layers and not is_norm(behind)]
