"""Everything that is timed: for every group, cases of one operator in one mode at one shape, with peers and a check.

A case is cheap to list; `prepare` makes its tensors. Modes: "forward", "forward+backward", and the two gradients
alone. `kind` says which layers a row stands for: dense, depthwise, linear, or weights alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import torch
from torch.nn import functional

from repro import ops
from repro.bench import gate, peers
from repro.bench.shapes import ConvShape, all_shapes, quick_shapes
from repro.bench.timer import Work
from repro.errors import BackendError
from repro.ops import dispatch

# Slow peers are timed where one call stays within some tenths of a second on two cores.
BROADCAST_TERMS = 16e6
CDIST_BACKWARD_TERMS = 32e6
QUICK_COUNT = 3
PACKED_BATCHES = (1, 4, 16)
PACKED_SIZES = ((1024, 1024), (4096, 4096))
COMPOSED_SIZES = ((64, 64, 3, 3), (512, 512, 3, 3))


@dataclass
class Prepared:
    """A case with its tensors: what to time, what it is timed against, and its check.

    `terms`: |x - w| terms (or multiply-adds) of one call, None where there are none. `bound`: the arguments of
    `Ceiling.bound_ms`; empty where no ceiling of this arithmetic is measured (bytes in one instruction). `form`: how
    our kernel adds up |x - w| (`repro.bench.ceiling.FORMS`); empty where it does not, and on a GPU.
    """

    ours: Work
    peers: dict[str, Work]
    check: Callable[[], None]
    terms: int | None
    bound: dict[str, float] = field(default_factory=dict)
    form: str = ""


@dataclass(frozen=True)
class Case:
    """One row of the benchmark before it is measured."""

    op: str
    mode: str
    kind: str
    shape: str
    device: str
    prepare: Callable[[], Prepared]
    dtype: str = "float32"
    backend: str = ""


def backend_of(device: str) -> str:
    """The back end that the benchmark asks for by name, so that no fall-back is ever timed."""
    return "triton" if device == "cuda" else "cpu"


def _traffic(shape: ConvShape, reads: int = 1, writes: int = 1, size: int = 4) -> float:
    """Bytes of `reads` passes over x and `writes` over y, and the weights once."""
    return size * (reads * shape.x_elements + writes * shape.y_elements + shape.weight_elements)


def _adder(device: str) -> Callable:
    def op(x, weight, **options):
        return ops.adder_conv2d(x, weight, backend=backend_of(device), **options)

    return op


def _form(shape: ConvShape, inputs: gate.Inputs, device: str) -> str:
    form = dispatch.optional_kernel(backend_of(device), "adder", "forward_form")
    pair = (shape.stride, shape.stride)
    return form(inputs.x, inputs.weight, pair, shape.padding, shape.groups) if form else ""


def _without_grad(function: Callable, *args, **options) -> Work:
    def work():
        with torch.no_grad():
            return function(*args, **options)

    return work


def _with_grad(function: Callable, inputs: gate.Inputs, options: dict) -> Work:
    def work():
        return torch.autograd.grad(function(inputs.x, inputs.weight, **options), (inputs.x, inputs.weight), inputs.grad)

    return work


def _forward(shape: ConvShape, device: str) -> Prepared:
    inputs = gate.make_inputs(shape, device)
    x, weight = inputs.x.detach(), inputs.weight.detach()
    beside = {"conv2d": _without_grad(functional.conv2d, x, weight, **shape.options)}
    if shape.kind == "dense":
        beside["cdist"] = _without_grad(peers.cdist_adder_conv2d, x, weight, **shape.options)
        if shape.terms <= BROADCAST_TERMS:
            beside["broadcast"] = _without_grad(peers.broadcast_adder_conv2d, x, weight, **shape.options)

    def check():
        gate.check_adder(_adder(device), shape, inputs, backward=False)
        exact = peers.cdist_adder_conv2d(x, weight, **shape.options)
        gate.compare("y beside cdist", _adder(device)(x, weight, **shape.options), exact.double(), x.dtype)

    bound = {"l1": shape.terms, "traffic_bytes": _traffic(shape)}
    ours = _without_grad(_adder(device), x, weight, **shape.options)
    return Prepared(ours, beside, check, shape.terms, bound, _form(shape, inputs, device))


def _forward_backward(shape: ConvShape, device: str) -> Prepared:
    inputs = gate.make_inputs(shape, device)
    beside = {"conv2d": _with_grad(functional.conv2d, inputs, shape.options)}
    if shape.kind == "dense" and shape.terms <= CDIST_BACKWARD_TERMS:
        beside["cdist"] = _with_grad(peers.cdist_adder_conv2d, inputs, shape.options)
    if shape.kind == "dense" and shape.terms <= BROADCAST_TERMS:
        beside["broadcast"] = _with_grad(peers.broadcast_adder_conv2d, inputs, shape.options)
    bound = {
        **{"l1": shape.terms, "clip": shape.terms, "multiply": shape.terms},
        "traffic_bytes": _traffic(shape, reads=4, writes=3),
    }
    return Prepared(
        _with_grad(_adder(device), inputs, shape.options),
        beside,
        lambda: gate.check_adder(_adder(device), shape, inputs, backward=True),
        shape.terms,
        bound,
        _form(shape, inputs, device),
    )


def _one_gradient(which: str) -> Callable[[ConvShape, str], Prepared]:
    """The input or the weight gradient alone, beside the same gradient of the ordinary convolution."""

    def prepare(shape: ConvShape, device: str) -> Prepared:
        inputs = gate.make_inputs(shape, device)
        x, weight, grad = inputs.x.detach(), inputs.weight.detach(), inputs.grad
        pairs = [shape.stride, shape.stride], list(shape.padding), [1, 1]
        ours = getattr(torch.ops.repro, f"adder_conv2d_bwd_{which}")
        mask = [which == "input", which == "weight", False]

        def conv2d():
            return torch.ops.aten.convolution_backward(grad, x, weight, None, *pairs, False, [0, 0], shape.groups, mask)

        return Prepared(
            _without_grad(ours, grad, x, weight, *pairs, shape.groups, backend_of(device)),
            {"conv2d": conv2d},
            lambda: gate.check_adder(_adder(device), shape, inputs, backward=True),
            shape.terms,
            {
                "clip" if which == "input" else "multiply": shape.terms,
                "traffic_bytes": _traffic(shape, reads=2 if which == "input" else 1),
            },
        )

    return prepare


def _shift(shape: ConvShape, device: str) -> Prepared:
    inputs = gate.make_inputs(shape, device)

    def op(x, weight, **options):
        return ops.shift_conv2d(x, weight, **options)

    return Prepared(
        _with_grad(op, inputs, shape.options),
        {"conv2d": _with_grad(functional.conv2d, inputs, shape.options)},
        lambda: gate.check_shift(op, shape, inputs),
        shape.terms,
        {"multiply": 3 * shape.terms, "traffic_bytes": _traffic(shape, reads=4, writes=3)},
    )


def _int8(shape: ConvShape, device: str) -> Prepared:
    backend = backend_of(device)
    kernel = dispatch.optional_kernel(backend, "adder_int8", "adder_conv2d_int8")
    if kernel is None:
        raise BackendError(f"the {backend} back end has no compiled 8-bit adder kernel")
    inputs = gate.make_inputs(shape, device)
    x, weight = inputs.x.detach(), inputs.weight.detach()
    codes, filters = ((tensor * 30).round().clamp(-127, 127).to(torch.int8) for tensor in (x, weight))
    geometry = (shape.stride, shape.stride), shape.padding, (1, 1), shape.groups
    return Prepared(
        _without_grad(kernel, codes, filters, *geometry),
        {"adder float32": _without_grad(_adder(device), x, weight, **shape.options)},
        lambda: gate.check_int8(kernel, shape, codes, filters),
        shape.terms,
    )


def _packed(batch: int, features: tuple[int, int], device: str) -> Prepared:
    """Packed 4-bit shift linear beside the dense product: float16 on a GPU, float32 on a CPU."""
    backend = backend_of(device)
    pack, linear = (
        dispatch.optional_kernel(backend, "shift", name) for name in ("pack_shift_weight", "shift_linear_packed")
    )
    if pack is None or linear is None:
        raise BackendError(f"the {backend} back end has no packed shift kernel")
    dtype = torch.float16 if device == "cuda" else torch.float32
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(batch, features[0], generator=generator).to(device, dtype)
    weight = ops.round_to_power_of_two(torch.randn(features[1], features[0], generator=generator) / 8, 4)
    packed = pack(weight.to(device), 4)
    dense = weight.to(device, dtype)

    def check():
        exact = functional.linear(x.double().cpu(), weight.double())
        gate.compare("y", linear(x, packed, weight_bits=4), exact, dtype)

    return Prepared(
        _without_grad(linear, x, packed, weight_bits=4),
        {"linear": _without_grad(functional.linear, x, dense)},
        check,
        batch * weight.numel(),
        {"traffic_bytes": weight.numel() / 2 + x.element_size() * (x.numel() + batch * features[1])},
    )


def _composed(size: tuple[int, ...], device: str) -> Prepared:
    """Weights of exponents and signs, and the gradient of both, beside the same in PyTorch's own operators."""
    generator = torch.Generator().manual_seed(0)
    shift = (-14 * torch.rand(size, generator=generator)).to(device).requires_grad_()
    sign, grad = (torch.randn(size, generator=generator).to(device) for _ in range(2))
    sign.requires_grad_()

    def ours():
        return torch.autograd.grad(ops.compose_shift_weight(shift, sign), (shift, sign), grad)

    check = lambda: gate.compare("gradient", ours()[0], plain()[0].double(), shift.dtype)  # noqa: E731
    plain = _without_grad(peers.composed_shift_weight, shift, sign, grad)
    return Prepared(ours, {"torch": plain}, check, None, {"traffic_bytes": 4 * 7 * shift.numel()})


# --- groups ----------------------------------------------------------------------------------------------------------


def _conv_cases(op: str, mode: str, kinds: tuple[str, ...], build: Callable, dtype: str = "float32") -> Callable:
    def cases(device: str, quick: bool) -> Iterator[Case]:
        for kind in kinds:
            shapes = (
                quick_shapes(kind, QUICK_COUNT) if quick else [shape for shape in all_shapes() if shape.kind == kind]
            )
            for shape in shapes:
                yield Case(
                    op,
                    mode,
                    kind,
                    f"{shape.network} {shape}",
                    device,
                    lambda shape=shape: build(shape, device),
                    dtype,
                    backend_of(device),
                )

    return cases


def _packed_cases(device: str, quick: bool) -> Iterator[Case]:
    for batch in PACKED_BATCHES[:1] if quick else PACKED_BATCHES:
        for features in PACKED_SIZES:
            yield Case(
                "shift_linear_packed",
                "forward",
                "linear",
                f"{batch}x{features[0]} to {features[1]}",
                device,
                lambda batch=batch, features=features: _packed(batch, features, device),
                "float16" if device == "cuda" else "float32",
                backend_of(device),
            )


def _composed_cases(device: str, quick: bool) -> Iterator[Case]:
    for size in COMPOSED_SIZES[:1] if quick else COMPOSED_SIZES:
        shape, prepare = "x".join(map(str, size)), lambda size=size: _composed(size, device)
        yield Case("compose_shift_weight", "forward+backward", "weights", shape, device, prepare)


ADDER = "adder_conv2d"
GROUPS: dict[str, Callable[[str, bool], Iterator[Case]]] = {
    "forward": _conv_cases(ADDER, "forward", ("dense", "depthwise"), _forward),
    "training": _conv_cases(ADDER, "forward+backward", ("dense",), _forward_backward),
    "depthwise": _conv_cases(ADDER, "forward+backward", ("depthwise",), _forward_backward),
    "input-gradient": _conv_cases(ADDER, "input gradient", ("dense",), _one_gradient("input")),
    "weight-gradient": _conv_cases(ADDER, "weight gradient", ("dense",), _one_gradient("weight")),
    "int8": _conv_cases("adder_conv2d_int8", "forward", ("dense",), _int8, "int8"),
    "shift": _conv_cases("shift_conv2d", "forward+backward", ("dense", "depthwise"), _shift),
    "packed": _packed_cases,
    "compose": _composed_cases,
}
