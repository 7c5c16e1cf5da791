"""Operators behave as torch's own: under tracers, transforms, modes, subclasses, and with tensors of every make."""

from __future__ import annotations

import ast
import math
import warnings
from fractions import Fraction

import onnxruntime
import pytest
import torch
from torch import fx, nn
from torch.autograd import forward_ad
from torch.func import functional_call, functionalize, grad, jvp, vmap
from torch.fx.experimental.proxy_tensor import make_fx

from repro.errors import InputError
from repro.layers import AdderConv2d, AdderLinear, MixedConv2d, ShiftConv2d, ShiftLinear
from repro.models import create
from repro.ops import (
    adder_conv2d,
    adder_linear,
    compose_shift_weight,
    exported,
    fixed_point_round,
    reference,
    round_to_power_of_two,
    shift_conv2d,
    shift_linear,
)
from repro.paths import repo_root


def images(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


IMAGES, ROWS = images(2, 3, 6, 6), images(5, 3, seed=1)
LAYERS = {
    "adder": lambda: (AdderConv2d(3, 4, 3), IMAGES),
    "adder depthwise": lambda: (AdderConv2d(3, 3, 3, groups=3), IMAGES),
    "adder linear": lambda: (AdderLinear(3, 4), ROWS),
    "shift": lambda: (ShiftConv2d(3, 4, 3), IMAGES),
    "shift ps": lambda: (ShiftConv2d(3, 4, 3, mode="ps"), IMAGES),
    "8 bits": lambda: (AdderConv2d(3, 4, 3, padding="same").quantize(3.0), IMAGES),
    "8 bits linear": lambda: (AdderLinear(3, 4).quantize(3.0), ROWS),
    "packed": lambda: (ShiftConv2d(3, 4, 3).quantize(), IMAGES),
    "packed fixed": lambda: (ShiftConv2d(3, 4, 3).quantize("fixed"), IMAGES),
    "packed linear": lambda: (ShiftLinear(3, 4).quantize("fixed"), ROWS),
}
TRAINABLE = [name for name in LAYERS if "8 bits" not in name and "packed" not in name]
each_layer = pytest.mark.parametrize("name", LAYERS)


def layer_and_input(name):
    """A layer and an input of the test's own, whatever it asks of it."""
    torch.manual_seed(0)
    layer, x = LAYERS[name]()
    return layer, x.detach().clone()


@each_layer
def test_a_default_device_does_not_reach_what_a_layer_allocates(name):
    layer, x = layer_and_input(name)
    with torch.no_grad():
        wanted = layer(x)
        with torch.device("meta"):
            got = layer(x)
    assert got.device.type == "cpu" and torch.equal(got, wanted)


def test_every_allocation_of_the_cpu_kernels_names_its_device_and_dtype():
    for path in sorted((repo_root() / "repro" / "cpu").glob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            name = ast.unparse(node.func) if isinstance(node, ast.Call) else ""
            if name in ("torch.empty", "torch.zeros", "torch.ones", "torch.full", "torch.arange", "torch.tensor"):
                named = {keyword.arg for keyword in node.keywords}
                assert named >= {"device", "dtype"}, f"{path.name}:{node.lineno}"


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16], ids=str)
@each_layer
def test_a_default_dtype_does_not_reach_what_a_layer_computes(name, dtype):
    layer, x = layer_and_input(name)
    x = x.detach().clone()  # the others' input stays as it is
    x.view(-1)[0] = float("nan")
    trains = [p for p in layer.parameters() if p.requires_grad]

    def computed():
        y = layer(x)
        gradients = torch.autograd.grad(y.nan_to_num().sum(), trains) if trains else ()
        return [y.detach(), *gradients]

    wanted = computed()
    torch.set_default_dtype(dtype)
    try:
        got = computed()
    finally:
        torch.set_default_dtype(torch.float32)
    for ours, theirs in zip(got, wanted, strict=True):
        assert ours.dtype == theirs.dtype and torch.equal(ours.nan_to_num(), theirs.nan_to_num())


@each_layer
def test_traces_compute_on_what_they_are_given(name):
    layer, x = layer_and_input(name)
    other = x.flip(0)
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        wanted = layer(other)
        for trace in (make_fx(layer), torch.jit.trace(layer, x, check_trace=False), functionalize(layer)):
            traced = trace(x) if isinstance(trace(x), fx.GraphModule) else trace
            torch.testing.assert_close(traced(other), wanted)
        torch.testing.assert_close(make_fx(layer)(x)(other), wanted)
        torch.testing.assert_close(torch.export.export(layer, (x,)).module()(other), wanted)
        torch.testing.assert_close(fx.symbolic_trace(nn.Sequential(layer))(other), wanted)


def test_symbolic_traces_keep_a_mixed_layer():
    layer = MixedConv2d("shift", (3, 2), (4, 1), 3)
    x = images(1, 5, 6, 6)
    torch.testing.assert_close(fx.symbolic_trace(layer)(x), layer(x))


@each_layer
def test_fake_and_functional_tensors(name):
    layer, x = layer_and_input(name)
    with torch.no_grad():
        wanted = layer(x)
        with torch._subclasses.FakeTensorMode(allow_non_fake_inputs=True) as mode:
            fake = layer(mode.from_tensor(x))
        assert (fake.shape, fake.dtype, fake.stride()) == (wanted.shape, wanted.dtype, wanted.stride())
        functional = torch._to_functional_tensor(x)
        try:
            got = layer(functional)
        except RuntimeError as error:
            assert "\n" not in str(error).strip()
        else:
            torch.testing.assert_close(torch._from_functional_tensor(got), wanted)


@each_layer
def test_freed_memory_is_an_error(name):
    layer, x = layer_and_input(name)
    for view in (x.clone(), x.clone()[1:]):
        view.untyped_storage().resize_(0)
        with pytest.raises(RuntimeError):
            layer(view)


def negative_view(*shape):
    view = torch.complex(images(*shape), images(*shape, seed=1)).conj().imag
    assert view.is_neg()
    return view


@each_layer
def test_lazy_negatives_count_with_their_values(name):
    layer, x = layer_and_input(name)
    view = negative_view(*x.shape)
    assert torch.equal(layer(view), layer(view.clone()))


def test_lazy_negatives_as_upstream_gradients():
    x, weight = images(5, 7).requires_grad_(), images(3, 7, seed=2).requires_grad_()
    y, upstream = adder_linear(x, weight), negative_view(5, 3)
    lazy = torch.autograd.grad(y, (x, weight), upstream, retain_graph=True)
    plain = torch.autograd.grad(y, (x, weight), upstream.clone())
    for a, b in zip(lazy, plain):
        torch.testing.assert_close(a, b)


@pytest.mark.parametrize("name", TRAINABLE)
def test_batched_upstream_gradients(name):
    layer, x = layer_and_input(name)
    y = layer(x.requires_grad_())
    leaves = (x, *layer.parameters())
    upstream = torch.stack([torch.randn(y.shape, generator=torch.Generator().manual_seed(seed)) for seed in range(2)])
    together = torch.autograd.grad(y, leaves, upstream, is_grads_batched=True, retain_graph=True)
    for i in range(2):
        alone = torch.autograd.grad(y, leaves, upstream[i], retain_graph=True)
        for batched, single in zip(together, alone):
            torch.testing.assert_close(batched[i], single)


@pytest.mark.parametrize("batched", [False, True])
def test_gradients_of_exponents_in_another_layout_or_batched_are_those_of_each(batched):
    shift, sign, upstream = images(2, 3, 4, 3, 3), images(2, 3, 4, 3, 3, seed=1), images(2, 3, 4, 3, 3, seed=2)
    leaves = [(-3 * x[0].abs()).requires_grad_() for x in (shift, sign)]
    weight = compose_shift_weight(*leaves)
    laid = upstream.to(memory_format=torch.channels_last_3d)
    alone = [torch.autograd.grad(weight, leaves, one, retain_graph=True) for one in laid]
    assert all(
        torch.equal(found[0], torch.autograd.grad(weight, leaves, one.contiguous(), retain_graph=True)[0])
        for found, one in zip(alone, laid)
    )
    if batched:
        together = torch.autograd.grad(weight, leaves, laid, is_grads_batched=True, retain_graph=True)
        for i, pair in enumerate(alone):
            assert all(torch.equal(both[i], one) for both, one in zip(together, pair))


def test_the_gradient_of_exponents_can_be_differentiated_by_what_comes_from_above():
    shift = (-3 * images(5, 7).abs()).requires_grad_()
    factor = torch.tensor(2.0, requires_grad=True)
    weight = compose_shift_weight(shift, images(5, 7, seed=1))
    (found,) = torch.autograd.grad((factor * weight).sum(), shift, create_graph=True)
    (again,) = torch.autograd.grad(found.sum(), factor)
    torch.testing.assert_close(again, found.sum() / factor)


def test_stochastic_rounding_refuses_the_transforms_of_torch_func_in_a_sentence():
    with pytest.raises(InputError, match="stochastic=True is not allowed inside transforms"):
        grad(lambda x: round_to_power_of_two(x, stochastic=True).sum())(ROWS)


@pytest.mark.parametrize("name", TRAINABLE)
def test_per_sample_gradients_are_those_of_backward(name):
    layer, x = layer_and_input(name)
    weights = {key: value.detach() for key, value in layer.named_parameters()}

    def loss(weights, sample):
        return functional_call(layer, weights, (sample[None],)).square().sum()

    found = vmap(grad(loss), (None, 0))(weights, x)
    for i in range(2):
        layer.zero_grad()
        layer(x[i : i + 1]).square().sum().backward()
        for key, value in layer.named_parameters():
            torch.testing.assert_close(found[key][i], value.grad)


def test_vmap_over_images_weights_and_both():
    x, weight = images(3, 2, 2, 5, 5), images(3, 4, 2, 3, 3, seed=5)
    for in_dims in ((0, None), (None, 0), (0, 0)):
        pick = [t if d == 0 else t[0] for t, d in zip((x, weight), in_dims)]
        wanted = [adder_conv2d(*(t[i] if d == 0 else t for t, d in zip(pick, in_dims))) for i in range(3)]
        torch.testing.assert_close(vmap(adder_conv2d, in_dims)(*pick), torch.stack(wanted))
    assert torch.equal(vmap(fixed_point_round)(ROWS[:, 0]), fixed_point_round(ROWS[:, 0]))


FORWARD_MODE = {
    "adder_conv2d": lambda x: adder_conv2d(x, images(4, 3, 3, 3)),
    "adder_linear": lambda x: adder_linear(x, images(4, 6)),
    "shift_conv2d": lambda x: shift_conv2d(x, images(4, 3, 3, 3)),
    "round_to_power_of_two": round_to_power_of_two,
    "compose_shift_weight": lambda x: compose_shift_weight(x, x),
    "fixed_point_round": fixed_point_round,
}


@pytest.mark.parametrize("name", FORWARD_MODE)
def test_forward_mode_derivatives_raise(name):
    with pytest.raises(NotImplementedError, match="forward-mode"):
        jvp(FORWARD_MODE[name], (IMAGES,), (IMAGES,))
    with forward_ad.dual_level(), pytest.raises(NotImplementedError, match="forward-mode"):
        FORWARD_MODE[name](forward_ad.make_dual(IMAGES, IMAGES.clone()))


@pytest.mark.parametrize("name", [name for name in LAYERS if name not in TRAINABLE])
def test_layers_of_inference_refuse_derivatives(name):
    layer, x = layer_and_input(name)
    for ask in (
        lambda: grad(lambda x: layer(x).sum())(x.clone()),
        lambda: torch.func.jacrev(layer)(x.clone()),
        lambda: vmap(grad(lambda sample: layer(sample[None]).sum()))(x.clone()),
        lambda: (layer(y := x.clone().requires_grad_()).sum() + y.sum()).backward(),
    ):
        with pytest.raises(RuntimeError, match="are for inference and have no gradient"):
            ask()
    with pytest.raises(NotImplementedError, match="forward-mode"):
        jvp(layer, (x.clone(),), (x.clone(),))
    with forward_ad.dual_level(), pytest.raises(NotImplementedError, match="forward-mode"):
        layer(forward_ad.make_dual(x.clone(), x.clone()))
    wanted = layer(x)
    assert torch.equal(layer(x.clone().requires_grad_()), wanted) and not wanted.requires_grad
    with torch.no_grad():
        assert not layer(x.clone().requires_grad_()).requires_grad


def test_a_torch_function_mode_sees_the_call():
    seen = []

    class Watch(torch.overrides.TorchFunctionMode):
        def __torch_function__(self, func, types, args=(), kwargs=None):
            seen.append(func)
            return func(*args, **(kwargs or {}))

    weight = images(4, 3)
    with Watch():
        shift_linear(ROWS, weight)
    assert seen[0] is shift_linear


def test_onnx_exporters_meet_torchs_operators_only(monkeypatch):
    import torch.onnx

    conv, linear = AdderConv2d(3, 4, 3), ShiftLinear(3, 4, mode="ps")
    wanted = conv(IMAGES), linear(ROWS)
    monkeypatch.setattr(torch.onnx, "is_in_onnx_export", lambda: True)
    for layer, x, y in ((conv, IMAGES, wanted[0]), (linear, ROWS, wanted[1])):
        with torch.no_grad():
            graph = make_fx(layer)(x)
        assert not [node for node in graph.graph.nodes if "repro" in str(node.target)]
        torch.testing.assert_close(graph(x), y)


def _computes_the_same_elsewhere(model, x, folder):
    torch.onnx.export(model.eval(), (x,), folder / "model.onnx", verbose=False)
    session = onnxruntime.InferenceSession(folder / "model.onnx", providers=["CPUExecutionProvider"])
    (y,) = session.run(None, {session.get_inputs()[0].name: x.detach().numpy()})
    torch.testing.assert_close(torch.from_numpy(y), model(x).detach(), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", TRAINABLE)
def test_exported_onnx_layers_compute_the_same(name, tmp_path):
    _computes_the_same_elsewhere(*layer_and_input(name), tmp_path)


@pytest.mark.parametrize(("op", "options"), [("adder", {}), ("shift", {"op_options": {"shift": {"mode": "ps"}}})])
def test_exported_onnx_networks_compute_the_same(op, options, tmp_path):
    torch.manual_seed(0)
    network = create("resnet20", width=0.25, num_classes=10, op=op, **options)
    _computes_the_same_elsewhere(network, images(2, 3, 16, 16), tmp_path)


@pytest.mark.parametrize("piece", [1, 1000, 1 << 20])
@pytest.mark.parametrize("groups", [1, 2, 4], ids="groups={}".format)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.float64], ids=str)
def test_what_is_exported_computes_the_adder_in_pieces_of_any_size(piece, groups, dtype, monkeypatch):
    monkeypatch.setattr(exported, "PIECE", piece)
    x, weight = images(2, 4, 7, 6).to(dtype), images(8, 4 // groups, 3, 2).to(dtype)
    options = (2, 1), (1, 0), (1, 2), groups
    y = exported.adder_conv2d(x, weight, *options)
    torch.testing.assert_close(y, reference.adder_conv2d_fwd(x, weight, *options))
    rows, columns = images(5, 6).to(dtype), images(7, 6).to(dtype)
    torch.testing.assert_close(exported.adder_linear(rows, columns), reference.adder_linear_fwd(rows, columns))


def test_an_exported_adder_is_a_few_nodes_however_many_filters_it_has():
    """One node a filter and operation made a ResNet-20 of 8.7 MB and took over a minute."""
    layer = AdderConv2d(3, 256, 3, bias=False)
    with torch.no_grad():
        graph = make_fx(lambda x: exported.adder_conv2d(x, layer.weight, (1, 1), (0, 0), (1, 1), 1))(IMAGES)
    assert len(graph.graph.nodes) < 20


def test_an_exported_adder_subtracts_and_an_exported_shift_multiplies_by_powers_of_two(tmp_path):
    """No adder layer becomes a convolution in the graph; shift weights are rounded where they are used."""
    import onnx

    adder, shift = AdderConv2d(2, 3, 3, padding=1, bias=False), ShiftConv2d(2, 3, 3, weight_bits=5, bias=False)
    kinds = {}
    for name, layer in {"adder": adder, "shift": shift}.items():
        _computes_the_same_elsewhere(layer, images(1, 2, 6, 6), tmp_path)
        kinds[name] = {node.op_type for node in onnx.load(tmp_path / "model.onnx").graph.node}
    assert {"Sub", "Abs", "ReduceSum", "Neg"} <= kinds["adder"] and not {"Conv", "MatMul", "Gemm"} & kinds["adder"]
    assert "Conv" in kinds["shift"]
    with torch.no_grad():  # the rounded weights as they are: the same network to a runtime
        shift.weight.copy_(round_to_power_of_two(shift.weight))
    _computes_the_same_elsewhere(shift, images(1, 2, 6, 6), tmp_path)


def test_sparse_activations_are_refused_in_a_sentence():
    with pytest.raises(InputError, match=r"x\.layout=torch\.sparse_coo"):
        adder_linear(ROWS.to_sparse(), images(4, 3))


# --- NaN, ranges and middles -----------------------------------------------------------------------------------------


def test_nan_in_either_part_of_a_shift_weight_reaches_it():
    nan = float("nan")
    for shift, sign in ((nan, 1.0), (nan, 0.0), (-3.0, nan), (nan, nan)):
        assert compose_shift_weight(torch.tensor([shift]), torch.tensor([sign])).isnan().all()


@pytest.mark.parametrize("name", [name for name in LAYERS if name not in TRAINABLE])
def test_integer_layers_show_where_a_nan_went(name):
    layer, x = layer_and_input(name)
    layer_at = (1, 2, 0, 5) if x.ndim == 4 else (1, 2)
    bad = x.clone()
    bad[layer_at] = float("nan")
    marked = torch.zeros_like(x)
    marked[layer_at] = 1
    if x.ndim == 4:
        ones, padding = torch.ones(4, 3, 3, 3), 1 if layer.padding == "same" else 0
        reached = nn.functional.conv2d(marked, ones, padding=padding) > 0
    else:
        reached = (marked.sum(1, keepdim=True) > 0).expand(-1, 4)
    y = layer(bad)
    assert torch.equal(y.isnan(), reached)
    assert torch.equal(y[~reached], layer(x)[~reached])


@pytest.mark.parametrize("backend", ["reference", "cpu"])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("bits", [(16, 16), (8, 8), (5, 4), (32, 0)], ids=str)
def test_fixed_point_numbers_end_inside_their_range(dtype, bits, backend):
    low, high = -(2.0 ** (bits[0] - 1)), 2.0 ** (bits[0] - 1) - 2.0 ** -bits[1]
    x = torch.tensor([math.inf, -math.inf, 3e4, -3e4, 0.3], dtype=dtype)
    y = fixed_point_round(x, *bits, backend=backend)
    assert y.double().max() <= high and y.double().min() >= low and y.isfinite().all()
    assert torch.equal(y, reference.fixed_point_round(x, *bits))


@pytest.mark.parametrize("rounding", [round_to_power_of_two, lambda w: reference.round_to_power_of_two(w, -14, 0)])
def test_float64_weights_round_at_the_true_middle(rounding):
    for power in range(-13, 0):
        middle = math.sqrt(2) * 2.0**power
        values = [math.nextafter(middle, 0), middle, math.nextafter(middle, 2)]
        wanted = [2.0 ** (power + (Fraction(v) ** 2 > Fraction(2) * Fraction(4) ** power)) for v in values]
        assert rounding(torch.tensor(values, dtype=torch.float64)).tolist() == wanted


@pytest.mark.parametrize("offset", [1e3, 1e5])
def test_weight_gradients_survive_offsets_that_differ_by_channel(offset):
    places = offset * images(6, seed=7)
    x, weight = images(300, 6, seed=8) + places, images(4, 6, seed=9) + places
    upstream = images(300, 4, seed=10)
    maps, filters = images(4, 6, 8, 8) + places.view(6, 1, 1), images(4, 3, 3, 3, seed=2)
    filters = filters + places.view(2, 1, 3, 1, 1).expand(2, 2, 3, 1, 1).reshape(4, 3, 1, 1)
    for op, a, b, g, options in (
        (adder_linear, x, weight, upstream, {}),
        (adder_conv2d, maps, filters, images(4, 4, 8, 8, seed=3), {"padding": 1, "groups": 2}),
    ):
        found = []
        for dtype, backend in ((torch.float32, "cpu"), (torch.float64, "reference")):
            leaves = a.to(dtype), b.to(dtype, copy=True).requires_grad_()
            op(*leaves, backend=backend, **options).backward(g.to(dtype))
            found.append(leaves[1].grad.double())
        assert (found[0] - found[1]).norm() < 1e-5 * found[1].norm()
