"""Where a run went wrong (the layer that first turned NaN or infinite) and where its time goes."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import torch
from torch import nn
from torch.nn import functional as F

# Events of our operators (autograd Functions named ...Conv2dFunction, ...LinearFunction) and of torch's own.
_OPERATOR_EVENT = re.compile(
    r"^(repro::\w+|aten::(conv2d|linear|addmm|bmm|convolution|mkldnn_convolution)"
    r"|(autograd::engine::evaluate_function: )?"
    r"(ConvolutionBackward0|AddmmBackward0|BmmBackward0|\w*(Adder|Shift)\w*(Conv2d|Linear)\w*))$"
)


def first_bad_output(model: nn.Module, images: torch.Tensor) -> str:
    """Dotted name of the first leaf module whose output on `images` is not finite, in order of execution.

    Running statistics of batch norm move on (they are beyond use by then). "the loss" if every output is finite.
    """
    found: list[str] = []

    def watch(name: str):
        def hook(_module, _inputs, output):
            if isinstance(output, torch.Tensor) and not found and not torch.isfinite(output).all():
                found.append(name)

        return hook

    leaves = [(name, module) for name, module in model.named_modules() if next(module.children(), None) is None]
    handles = [module.register_forward_hook(watch(name or "model")) for name, module in leaves]
    try:
        with torch.no_grad():
            model(images)
    finally:
        for handle in handles:
            handle.remove()
    return f"layer {found[0]}" if found else "the loss"


def first_bad_gradient(named_parameters: Iterable[tuple[str, nn.Parameter]]) -> str:
    """Name of the layer nearest the output whose gradient is not finite: backward reached it first."""
    bad = [
        name
        for name, parameter in named_parameters
        if parameter.grad is not None and not torch.isfinite(parameter.grad).all()
    ]
    return f"layer {bad[-1].rpartition('.')[0] or bad[-1]}" if bad else "no single layer (sum overflowed)"


WARM_UP_STEPS, PROFILED_STEPS = 2, 5


def profile_step(model: nn.Module, images: torch.Tensor, labels: torch.Tensor) -> dict[str, float]:
    """Forward and backward on the CPU, profiled: {"step_ms", "operator_ms", "operator_share"}, means over five steps.

    Operators are convolutions, linear, adder and shift layers and batched products; the rest is batch norm,
    activations, pooling, Python and autograd's own bookkeeping. Weights do not change; gradients are dropped.
    """

    def once():
        model.zero_grad()
        F.cross_entropy(model(images), labels).backward()

    for _ in range(WARM_UP_STEPS):
        once()
    with _quiet_stderr(), torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profiler:
        for _ in range(PROFILED_STEPS):
            with torch.profiler.record_function("repro.step"):
                once()
    model.zero_grad()
    events = profiler.events()
    total = sum(event.cpu_time_total for event in events if event.name == "repro.step")
    operators = sum(event.cpu_time_total for event in events if _is_operator(event) and not _inside_operator(event))
    return {
        "step_ms": total / PROFILED_STEPS / 1e3,
        "operator_ms": operators / PROFILED_STEPS / 1e3,
        "operator_share": operators / total,
    }


@contextmanager
def _quiet_stderr() -> Iterator[None]:
    """Nothing reaches the process's standard error inside: torch's profiler writes trace lines there, past Python."""
    sys.stderr.flush()
    kept = os.dup(2)
    try:
        with open(os.devnull, "w") as nowhere:
            os.dup2(nowhere.fileno(), 2)
            yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


def _is_operator(event) -> bool:
    return bool(_OPERATOR_EVENT.match(event.name))


def _inside_operator(event) -> bool:
    parent = event.cpu_parent
    while parent is not None:
        if _is_operator(parent):
            return True
        parent = parent.cpu_parent
    return False
