"""L2 terms of exponents and signs against loops in float64, optimiser groups, and the range of P."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from repro.errors import InputError
from repro.layers import ShiftConv2d, ShiftLinear
from repro.search import adaptive_l2
from repro.train.shift import check_shift_range, clamp_shifts, shift_optimizer


def network(dtype=torch.float64) -> nn.Module:
    torch.manual_seed(0)
    conv = ShiftConv2d(2, 3, 3, bias=False, mode="ps", dtype=dtype)
    return nn.Sequential(conv, nn.BatchNorm2d(3, dtype=dtype), nn.Flatten(), ShiftLinear(3, 2, mode="ps", dtype=dtype))


def by_hand(model: nn.Module, form: str) -> float:
    total = 0.0
    for layer in (model[0], model[3]):
        for p, s in zip(layer.shift.flatten().tolist(), layer.sign.flatten().tolist()):
            ternary = 1 if s >= 0.5 else -1 if s <= -0.5 else 0
            total += {"code": (2**p) ** 2, "paper": (2**p * ternary) ** 2, "conventional": p**2 + s**2, "none": 0}[form]
    return total


@pytest.mark.parametrize("form", ["code", "paper", "conventional", "none"])
def test_the_term_is_the_sum_over_all_layers_with_exponents_and_signs(form):
    model = network()
    assert adaptive_l2(model, form).item() == pytest.approx(by_hand(model, form), rel=1e-12)


def test_what_is_no_module_is_refused():
    with pytest.raises(InputError, match="model=None is not allowed; it must be a module"):
        adaptive_l2(None)


@pytest.mark.parametrize("form", ["code", "paper", "conventional"])
def test_its_gradient_is_that_of_the_formula_and_keeps_to_its_variables(form):
    model = network()
    shift = model[3].shift

    def term(values):
        with torch.no_grad():
            shift.copy_(values)
        return adaptive_l2(model, form)

    term(shift.detach().clone()).backward()
    found, step, values = shift.grad.clone(), 1e-6, shift.detach().clone()
    for place in range(values.numel()):
        shifted = [values.clone(), values.clone()]
        shifted[0].view(-1)[place] += step
        shifted[1].view(-1)[place] -= step
        slope = (term(shifted[0]) - term(shifted[1])).item() / (2 * step)
        assert found.view(-1)[place].item() == pytest.approx(slope, rel=1e-6, abs=1e-7)
    zero = model[3].sign.abs() < 0.5
    assert zero.any() and (form != "paper" or not found[zero].any())
    assert (model[3].sign.grad is not None) == (form == "conventional")  # S is constant in the adaptive forms


def test_exponents_and_signs_are_not_decayed_and_the_rest_is_decoupled():
    model = network()
    optimizer = shift_optimizer(model, lr=0.1, weight_decay=0.5)
    before = {name: value.detach().clone() for name, value in model.named_parameters()}
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    for name, value in model.named_parameters():
        factor = 1 if name.endswith(("shift", "sign")) else 1 - 0.1 * 0.5
        torch.testing.assert_close(value.detach(), factor * before[name], rtol=1e-12, atol=0)


def test_a_part_with_another_optimiser_is_left_out():
    model = network()
    held = [p for group in shift_optimizer(model, 0.1, 0.0, without=model[3]).param_groups for p in group["params"]]
    assert {id(p) for p in held} == {id(p) for p in [*model[0].parameters(), *model[1].parameters()]}


def test_momentum_does_not_carry_exponents_out_of_their_range():
    model = network()
    optimizer = shift_optimizer(model, lr=3.0, weight_decay=0.0)
    for slope in (1.0, 1.0, 1.0, 0.0, 0.0):  # the last steps are momentum alone
        for layer in (model[0], model[3]):
            layer.shift.grad = torch.full_like(layer.shift, slope)
        optimizer.step()
        outside = any((layer.shift < -7).any() for layer in (model[0], model[3]))
        clamp_shifts(model, -7, 0)
        assert all(((layer.shift >= -7) & (layer.shift <= 0)).all() for layer in (model[0], model[3]))
    assert outside, "the last step must have had something to put back"


def test_the_range_of_exponents_is_what_the_bits_hold():
    assert check_shift_range(5) == (-14, 0) and check_shift_range(6, (-15, 0)) == (-15, 0)


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda: check_shift_range(5, (-15, 0)), r"shift_range=\(-15, 0\) is not allowed; 5 bits .* P from -14 to 0"),
        (lambda: check_shift_range(5, (0, -14)), "the lowest first"),
        (lambda: check_shift_range(5, -14), "give the lowest and the highest P"),
        (lambda: adaptive_l2(network(), "l2"), "form='l2' is not known"),
        (lambda: adaptive_l2(nn.Linear(2, 2)), "no layer with exponents and signs"),
        (lambda: shift_optimizer(nn.ReLU(), 0.1, 0.0), "no trainable parameters"),
    ],
)
def test_what_cannot_be_trained_is_refused_in_a_sentence(call, sentence):
    with pytest.raises(InputError, match=sentence):
        call()


def test_layers_that_share_p_and_s_count_once():
    model = network()
    tied = nn.Sequential(model[0], ShiftConv2d(2, 3, 3, bias=False, mode="ps", dtype=torch.float64))
    tied[1].shift, tied[1].sign = model[0].shift, model[0].sign
    for form in ("code", "paper", "conventional"):
        torch.testing.assert_close(adaptive_l2(tied, form), adaptive_l2(tied[:1], form))


def test_half_types_are_summed_in_float32():
    layer = ShiftLinear(600, 600, mode="ps").half()
    with torch.no_grad():
        layer.shift.zero_(), layer.sign.fill_(1.0)
    assert adaptive_l2(layer, "code").item() == adaptive_l2(layer, "paper").item() == 360000.0
