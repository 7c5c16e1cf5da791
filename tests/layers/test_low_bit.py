"""Few-bit training: numbers on their grid, gradients straight through or right on average, ranges kept for later."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from repro.errors import InputError
from repro.layers import AdderConv2d, ShiftLinear
from repro.layers.low_bit import low_bit, to_grid


def test_the_grid_has_its_ends_and_equal_steps():
    x = torch.linspace(-1, 2, 1001, dtype=torch.float64)
    rounded = to_grid(x, x.min(), x.max(), 3)
    assert torch.allclose(rounded.unique(), torch.linspace(-1, 2, 8, dtype=torch.float64))
    assert (rounded - x).abs().max() <= 3 / 7 / 2 + 1e-12
    constant = torch.full((3,), 0.25)
    assert torch.equal(to_grid(constant, constant.min(), constant.max(), 8), constant)


def test_random_rounding_is_right_on_average():
    torch.manual_seed(0)
    x = torch.full((20_000,), 0.3)
    rounded = to_grid(x, torch.tensor(0.0), torch.tensor(1.0), 1, stochastic=True)
    assert set(rounded.tolist()) == {0.0, 1.0} and rounded.mean().item() == pytest.approx(0.3, abs=0.015)


def test_a_linear_layer_computes_with_rounded_inputs_and_rows():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 4))
    weight, bias = model[0].weight.detach().clone(), model[0].bias.detach().clone()
    low_bit(model, bits=4, skip=())
    x = torch.randn(5, 6, requires_grad=True)
    rows = torch.stack([to_grid(row, row.min(), row.max(), 4) for row in weight])
    expected = nn.functional.linear(to_grid(x.detach(), x.min(), x.max(), 4), rows, bias)
    y = model(x)
    torch.testing.assert_close(y, expected)
    y.sum().backward()  # a constant gradient lies on any grid, so what arrives is that of the rounded layer
    torch.testing.assert_close(x.grad, rows.sum(0).expand(5, 6))
    original = model[0].parametrizations.weight.original
    assert torch.equal(original, weight) and original.grad is not None


def test_an_input_given_by_name_is_rounded_too():
    torch.manual_seed(0)
    model = low_bit(nn.Sequential(nn.Linear(6, 4)), bits=4, skip=())
    x = torch.randn(5, 6)
    assert torch.equal(model[0](input=x), model[0](x))


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("transform", [torch.func.grad, torch.func.vmap])
def test_transforms_of_torch_func_are_refused_in_a_sentence(transform, training):
    network = low_bit(nn.Sequential(nn.Linear(4, 2)), skip=()).train(training)
    with pytest.raises(InputError, match=r"not allowed inside transforms of torch\.func"):
        transform(lambda x: network(x).sum())(torch.randn(3, 4))


def test_evaluation_takes_the_running_range_of_the_inputs():
    model = low_bit(nn.Sequential(nn.Linear(1, 1, bias=False)), skip=())
    for low, high in ((-1.0, 1.0), (-3.0, 2.0)):
        model(torch.tensor([[low], [high]]))
    torch.testing.assert_close(model[0].input_range, torch.tensor([0.9 * -3 + 0.1 * -1, 0.9 * 2 + 0.1 * 1]))
    model.eval()
    before = model[0].input_range.clone()
    weight = model[0].weight.item()
    assert model(torch.tensor([[100.0]])).item() == pytest.approx(before[1].item() * weight, rel=1e-5)
    assert torch.equal(model[0].input_range, before)


def test_adders_and_shifts_take_part_and_named_layers_do_not():
    torch.manual_seed(0)
    model = nn.ModuleDict({"shift": ShiftLinear(4, 4), "add": AdderConv2d(2, 2, 1), "classifier": nn.Linear(4, 2)})
    low_bit(model)
    known = {name.partition(".")[0] for name, _ in model.named_buffers()}
    assert known == {"shift", "add"}
    assert torch.nn.utils.parametrize.is_parametrized(model["add"], "weight")
    assert not torch.nn.utils.parametrize.is_parametrized(model["shift"])
    model["add"](torch.randn(1, 2, 3, 3)).sum().backward()
    assert model["add"].parametrizations.weight.original.grad.abs().sum() > 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"bits": 1}, r"bits=1 is not allowed"),
        ({"gradient_bits": 32}, r"gradient_bits=32 is not allowed"),
        ({"skip": ("clasifier",)}, r"skip names 'clasifier', which is no layer of this network; layers are: 0"),
    ],
)
def test_bad_requests_are_one_sentence_and_change_nothing(options, message):
    model = nn.Sequential(nn.Linear(2, 2))
    with pytest.raises(InputError, match=message):
        low_bit(model, **options)
    assert not list(model.buffers())
    low_bit(model, skip=())
    with pytest.raises(InputError, match="few-bit numbers already"):
        low_bit(model, skip=())


def test_an_empty_batch_passes_and_leaves_the_range():
    network = low_bit(nn.Sequential(nn.Linear(4, 2)), skip=())
    network(torch.randn(3, 4))
    before = network[0].input_range.clone()
    network(torch.empty(0, 4)).sum().backward()
    assert torch.equal(network[0].input_range, before) and not network[0].parametrizations.weight.original.grad.any()
