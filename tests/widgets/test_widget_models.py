"""What the explorers compute, without a widget."""

import pytest
import torch

from repro.augment.remap import TransformationKernel, gaussian_to_laplacian
from repro.cost import Hardware, model_cost, skeleton
from repro.errors import InputError
from repro.models.trace import trace
from repro.papers.explorers import SOURCES
from repro.report import published
from repro.widgets import design, weights
from repro.widgets.published import published_front, published_points, standing


@pytest.mark.parametrize(("preset", "op"), [("conv", "conv"), ("shift", "shift"), ("adder", "adder")])
def test_design_agrees_with_the_cost_of_the_real_model(preset, op):
    network = design.replace(design.network_defaults("mobilenet_v2"), preset=preset)
    _, layers = design.traced(network)
    real = model_cost(skeleton("mobilenet_v2", op=op), 160)
    ours = design.priced(layers, design.Chip())
    assert ours.energy_mj == real.energy_mj and ours.latency_ms == real.latency_ms


def test_operators_by_hand_agree_with_a_model_built_that_way():
    _, layers = design.traced(design.network_defaults("mobilenet_v2"))
    names = design.groups(layers)["role: pointwise"]
    by_hand = design.assigned(layers, [(name, "adder") for name in names])
    assert by_hand == trace(skeleton("mobilenet_v2", op={"pointwise": "adder"}), 160)


def test_stages_and_roles_cover_every_layer():
    _, layers = design.traced(design.network_defaults("ghostnet"))
    groups = design.groups(layers)
    roles = [layer for name, names in groups.items() if name.startswith("role") for layer in names]
    assert sorted(roles) == sorted(groups["all layers"])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model": "mobilnet_v2"}, "Did you mean 'mobilenet_v2'"),
        ({"options": "fom='cifar'"}, "Did you mean 'form'"),
        ({"options": "cifar"}, "name=value"),
        ({"options": "width=1"}, "its own control"),
        ({"num_classes": 0}, "num_classes=0"),
        ({"width": -1.0}, "width=-1.0"),
        ({"model": "cells", "options": "genotype='autoshift'"}, "genotype"),
    ],
)
def test_networks_that_cannot_be_built_say_why(change, message):
    with pytest.raises(InputError, match=message):
        design.traced(design.replace(design.Network(), **change))


def test_chips_that_cannot_run_the_layers_say_why():
    _, layers = design.traced(design.Network())
    with pytest.raises(InputError, match="does not fit the modelled accelerator"):
        design.priced(layers, design.Chip(hardware=Hardware(pe_limit=4)))
    with pytest.raises(InputError, match="three numbers"):
        design.priced(layers, design.Chip(word_bits="16, 5"))
    with pytest.raises(InputError, match="not known"):
        design.unit_energies(design.Chip(energies="FP33"))


def test_layer_rows_sum_to_the_whole_also_for_the_published_shift_reading():
    params, layers = design.traced(design.Network(preset="shift"))
    cost = design.priced(layers, design.Chip())
    frame = design.layer_frame(design.counted(layers, params, "shiftaddaug"), cost)
    assert frame["energy_mj"].sum() == pytest.approx(cost.energy_mj, rel=1e-12)


def test_operators_go_everywhere_but_where_the_family_places_them_itself():
    def kinds(model):
        _, layers = design.traced(design.replace(design.network_defaults(model), preset="adder everywhere"))
        return {layer.op for layer in layers if layer.kind != "matmul"}

    assert kinds("mobilenet_v2") == {"adder"}
    assert "conv" in kinds("acghostnet")


@pytest.mark.parametrize("source", SOURCES, ids=lambda source: source.table_id)
def test_published_points_are_the_printed_rows_and_no_front_point_is_beaten(source):
    points = published_points(source)
    assert set(points["accuracy_pct"]) <= set(published(source.table_id)[source.accuracy])
    edge = published_front(source, "arithmetic_mj")
    for item in edge.itertuples():
        better = (points["arithmetic_mj"] < item.arithmetic_mj) & (points["accuracy_pct"] >= item.accuracy_pct)
        assert not better.any()
    assert "nothing to compare" in standing(source, "arithmetic_mj", 0.0)


def test_remapping_gives_a_laplace_distribution_and_keeps_the_order():
    weight = weights.layer_weights(0.1)
    mapped = gaussian_to_laplacian(weight, 0.05)
    assert (mapped[weight.argsort()].diff() >= 0).all()
    assert mapped.abs().mean().item() == pytest.approx(0.05, rel=0.02)  # E|w| of a Laplace distribution is b
    assert abs(weights.laplace_excess(weight)) < 0.2 and 2 < weights.laplace_excess(mapped) < 4


def test_remapping_follows_the_printed_formula_and_stays_finite_in_the_tails():
    x = torch.tensor([-2.0, -0.3, 0.0, 1.5], dtype=torch.float64)
    p = torch.special.ndtr(x)
    printed = -0.7 * torch.sign(p - 0.5) * torch.log(1 - 2 * (p - 0.5).abs())
    torch.testing.assert_close(gaussian_to_laplacian(x, 0.7, mean=0.0, std=1.0), printed)
    assert torch.isfinite(gaussian_to_laplacian(torch.tensor([-30.0, 30.0]), 1.0, mean=0.0, std=1.0)).all()
    with pytest.raises(InputError, match="scale"):
        gaussian_to_laplacian(x, 0.0)
    with pytest.raises(InputError, match="must differ"):
        gaussian_to_laplacian(torch.ones(4), 1.0)


def test_kernel_scales_sorted_pieces_in_place():
    kernel = TransformationKernel(2)
    weight = torch.tensor([[0.1, -3.0], [2.0, 1.0], [0.5, -1.0]], requires_grad=True)
    assert torch.equal(kernel(weight), weight)
    with torch.no_grad():
        kernel.alpha.copy_(torch.tensor([10.0, 100.0]))
    expected = torch.tensor([[10.0, -300.0], [20.0, 10.0], [5.0, -100.0]])
    torch.testing.assert_close(kernel(weight), expected)
    kernel(weight).sum().backward()
    torch.testing.assert_close(kernel.alpha.grad, torch.tensor([3.5, -3.9]))


def test_kernel_with_enough_pieces_reaches_any_order_preserving_target():
    weight = torch.tensor([3.0, -1.0, 2.0, -0.5])
    target = torch.tensor([9.0, 4.0, -0.25, -7.0])
    fitted = TransformationKernel(4).fit_(weight, target)
    torch.testing.assert_close(fitted(weight).sort().values, target.sort().values)


def test_rounding_respects_bits_and_range():
    weight = weights.layer_weights(0.05)
    values = weights.rounded(weight, 4, -6, 0)
    exponents = values.abs().log2()
    assert torch.equal(exponents, exponents.round()) and exponents.min() >= -6 and exponents.max() <= 0
    with pytest.raises(InputError, match="bits name 7"):
        weights.rounded(weight, 4, -14, 0)
    with pytest.raises(InputError, match="empty"):
        weights.rounded(weight, 4, 1, 0)
