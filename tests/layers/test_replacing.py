"""What hangs on a layer stays when the layer is replaced: hooks, modes, shared, frozen, remade parameters."""

from __future__ import annotations

import warnings

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations, prune, spectral_norm, weight_norm

from repro.errors import InputError
from repro.layers import (
    AdderConv2d,
    AdderLinear,
    QuantizedAdderConv2d,
    ShiftConv2d,
    ShiftLinear,
    convert,
    quantize_adders,
    quantize_shifts,
    to_conv,
)

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning", "ignore:adder layers without:UserWarning")
IMAGES = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
TARGETS = [("adder", {}), ("shift", {}), ("shift", {"mode": "ps"}), ("shiftadd", {})]
targets = pytest.mark.parametrize(("to", "options"), TARGETS, ids=lambda value: str(value))


@targets
def test_frozen_parameters_stay_frozen(to, options):
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 4, 3))
    model[0].weight.requires_grad_(False)
    model[2].bias.requires_grad_(False)
    converted = convert(model, to, **options)
    first, last = (dict(converted[i].named_parameters()) for i in (0, 2))
    taken = [name for name in first if name.rpartition(".")[2] != "bias" and not name.startswith("add.")]
    assert not any(first[name].requires_grad for name in taken) and all(last[name].requires_grad for name in taken)
    bias = "add.bias" if to == "shiftadd" else "bias"
    assert first[bias].requires_grad and not last[bias].requires_grad
    if to == "shift":
        back = to_conv(converted)
        assert [p.requires_grad for p in back.parameters()] == [False, True, True, False]


@targets
def test_hooks_run_on_the_new_layer_and_their_handles_remove_them(to, options):
    calls, model = [], nn.Sequential(nn.Conv2d(3, 4, 3))
    handles = [
        model[0].register_forward_pre_hook(lambda *_: calls.append("before")),
        model[0].register_forward_hook(lambda m, args, kwargs, y: calls.append("after"), with_kwargs=True),
        model[0].register_full_backward_hook(lambda *_: calls.append("backward")),
    ]
    convert(model, to, inplace=True, **options)(IMAGES.clone().requires_grad_()).sum().backward()
    assert calls == ["before", "after", "backward"]
    for handle in handles:
        handle.remove()
    model(IMAGES)
    assert len(calls) == 3


def test_hooks_that_cannot_go_over_are_reported():
    model = nn.Sequential(nn.Conv2d(3, 4, 3))
    model[0].register_state_dict_post_hook(lambda *_: None)
    assert "state-dict hooks were dropped" in str(convert(model, "shift").conversion_report)


def test_quantisers_carry_hooks_modes_and_labels():
    calls, model = [], nn.Sequential(AdderConv2d(3, 4, 3), nn.BatchNorm2d(4).eval(), ShiftConv2d(4, 4, 3))
    for layer in (model[0], model[2]):
        layer.register_forward_hook(lambda *_: calls.append("after"))
        layer.cost_role = "stem"
    modes = [module.training for module in model.modules()]
    quantize_adders(model, [IMAGES])
    quantize_shifts(model)
    calls.clear()
    model(IMAGES)
    assert calls == ["after"] * 2 and model[0].cost_role == model[2].cost_role == "stem"
    assert [module.training for module in model.modules()] == modes


class Tied(nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding, self.first, self.second = nn.Embedding(6, 6), nn.Linear(6, 6), nn.Linear(6, 6)
        self.first.weight = self.second.weight = self.embedding.weight


@targets
def test_tied_parameters_stay_tied_or_are_reported(to, options):
    converted = convert(Tied(), to, **options)
    first, second = (getattr(layer, "shift", layer) if to == "shiftadd" else layer for layer in converted.children() if
                     not isinstance(layer, nn.Embedding))  # fmt: skip
    names = ("shift", "sign") if options else ("weight",)
    assert all(getattr(first, name) is getattr(second, name) for name in names)
    if options:
        assert "no longer shared with embedding" in str(converted.conversion_report)
    else:
        assert first.weight is converted.embedding.weight


REMADE = {
    "SpectralNorm": spectral_norm,
    "WeightNorm": weight_norm,
    "L1Unstructured": lambda layer: prune.l1_unstructured(layer, "weight", amount=0.5),
    "SpectralNorm ": parametrizations.spectral_norm,
    "WeightNorm ": parametrizations.weight_norm,
}


@pytest.mark.parametrize("inplace", [False, True], ids=["copy", "inplace"])
@pytest.mark.parametrize("name", REMADE)
def test_layers_whose_weight_is_remade_are_kept_and_reported(name, inplace):
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 3))
    REMADE[name](model[0])
    wanted = model.eval()[0](IMAGES)
    converted = convert(model, "shift", inplace=inplace)
    assert isinstance(converted[0], nn.Conv2d) and type(converted[1]) is ShiftConv2d
    assert torch.equal(converted[0](IMAGES), wanted)
    (row, _) = converted.conversion_report.rows
    assert row.target is None and name.strip().lower() in row.reason.lower()


@pytest.mark.parametrize("name", REMADE)
@pytest.mark.parametrize("kind", [AdderConv2d, ShiftConv2d], ids=lambda kind: kind.__name__)
def test_inference_forms_hold_the_weight_that_evaluation_uses(kind, name):
    torch.manual_seed(0)
    layer = kind(3, 4, 3)
    REMADE[name](layer)
    layer(IMAGES)
    with torch.no_grad():
        for parameter in layer.parameters():  # as an optimiser does: what was remade before is stale
            parameter.mul_(2)
    with torch.no_grad():
        wanted = layer.eval()(IMAGES)
    if kind is ShiftConv2d:
        torch.testing.assert_close(quantize_shifts(nn.Sequential(layer))(IMAGES), wanted)
    else:
        got = quantize_adders(nn.Sequential(layer), [IMAGES])(IMAGES)
        assert (got - wanted).abs().max() < 0.02 * wanted.abs().max()


@pytest.mark.parametrize(("to", "options"), TARGETS[:3], ids=str)
def test_transformer_layers_call_what_was_converted(to, options):
    torch.manual_seed(0)
    encoder = nn.TransformerEncoder(nn.TransformerEncoderLayer(8, 2, 16, batch_first=True, dropout=0.0), 2)
    converted = convert(encoder, to, **options)
    x = torch.randn(2, 5, 8)
    padding = torch.tensor([[False] * 3 + [True] * 2, [False] * 5])
    for extra in ({}, {"src_key_padding_mask": padding}):
        trained = converted.train()(x, **extra)  # in training torch calls every layer
        with torch.no_grad():
            torch.testing.assert_close(converted.eval()(x, **extra)[~padding], trained[~padding])
    if to == "shift":
        with torch.no_grad():
            wanted = converted(x)
            torch.testing.assert_close(quantize_shifts(converted)(x), wanted)


def test_adders_without_a_normalisation_behind_them_are_warned_of():
    bare = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Dropout(0.1), nn.BatchNorm2d(4), nn.Conv2d(4, 4, 3), nn.ReLU())
    with pytest.warns(UserWarning, match=r"without a normalisation behind them: 3;"):
        convert(bare, "adder")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        convert(bare, "adder", skip="3")
        convert(bare, "shift")
        convert(nn.Linear(2, 2), "adder")


class Residual(nn.Module):
    """Held in another order than computed: norm, shortcut, body; a functional norm; an activation before one."""

    def __init__(self):
        super().__init__()
        self.norm, self.shortcut = nn.BatchNorm2d(4), nn.Conv2d(4, 4, 1)
        self.body, self.act = nn.Conv2d(4, 4, 3, padding=1), nn.ReLU()
        self.late, self.late_norm = nn.Conv2d(4, 4, 1), nn.GroupNorm(2, 4)
        self.head = nn.Linear(4, 2)

    def forward(self, x):
        x = self.norm(self.body(x) + self.shortcut(x))
        x = self.late_norm(self.act(self.late(x)))
        x = nn.functional.layer_norm(self.late(x), x.shape[1:])
        return self.head(x.mean((2, 3)))


class Branching(Residual):
    def forward(self, x):
        return super().forward(x) if x.sum() > 0 else self.body(x)


def test_a_normalisation_is_looked_for_where_it_is_computed():
    with pytest.warns(UserWarning, match="behind them: late, head;"):
        convert(Residual(), "adder")
    with pytest.warns(UserWarning, match="behind them: late, head;"):
        convert(Residual(), "shiftadd")
    with pytest.warns(UserWarning, match="behind them: shortcut, body, head;"):  # in the order of holding
        convert(Branching(), "adder")


def test_calibration_refuses_what_it_cannot_use():
    bad = IMAGES.clone()
    bad[0, 0, 0, 0] = float("nan")
    for batches, sentence in (
        ([IMAGES, bad], "input of layer '0' holds nan"),
        ([{"x": IMAGES}], "batches holds a dict"),
        (IMAGES, "batches is a Tensor"),
        ([], "saw no input"),
    ):
        model = nn.Sequential(AdderConv2d(3, 4, 3))
        with pytest.raises(InputError, match=sentence):
            quantize_adders(model, batches)
        assert type(model[0]) is AdderConv2d and model.training and not model[0]._forward_pre_hooks
    with pytest.raises(InputError, match="sample is of shape"):
        AdderLinear(3, 2).quantize(sample=torch.empty(0, 3))


def test_calibration_takes_the_inputs_of_pairs_and_keyword_calls():
    class Named(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = AdderConv2d(3, 4, 3)

        def forward(self, x):
            return self.layer(x=x)

    assert type(quantize_adders(Named(), [(IMAGES, torch.zeros(2))]).layer) is QuantizedAdderConv2d


@pytest.mark.parametrize("arithmetic", ["product", "fixed"])
def test_float64_biases_keep_their_digits_when_packed(arithmetic):
    layer = ShiftLinear(4, 3).double()
    nn.init.constant_(layer.bias, 12345.678901)
    x = torch.randn(5, 4, dtype=torch.float64)
    assert (layer.quantize(arithmetic)(x) - layer(x)).abs().max() < 1e-9
