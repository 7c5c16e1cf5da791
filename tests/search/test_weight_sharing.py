"""Sharing modes against float64 references written from the equations; the released divergence does nothing."""

import math

import numpy as np
import pytest
import torch
from scipy import stats

from repro.errors import InputError
from repro.search.weight_sharing import EqualWidthKernel, WeightSharing, divergence_of, laplace_quantiles

SHAPE = (7, 5, 3, 3)


def equation_8(weight, factors):
    """Sort descending, cut into runs of equal count (the first ones one longer), scale, put back; in float64."""
    flat = weight.double().flatten().numpy()
    order = np.argsort(-flat, kind="stable")
    mapped = np.empty_like(flat)
    for factor, run in zip(factors, np.array_split(order, len(factors))):
        mapped[run] = factor * flat[run]
    return mapped.reshape(weight.shape)


def least_squares(weight, pieces, scale):
    """The factors that take sorted weights to the quantiles of Laplace(0, scale), piece by piece; in float64."""
    falling = np.sort(weight.double().flatten().numpy())[::-1]
    wanted = stats.laplace(scale=scale).ppf(1 - (np.arange(len(falling)) + 0.5) / len(falling))
    parts = zip(np.array_split(falling, pieces), np.array_split(wanted, pieces))
    return [float(mine @ theirs / (mine @ mine)) for mine, theirs in parts]


@pytest.mark.parametrize("remap, pieces", [("transform", 200), ("transform", 1000), ("constant", 200)])
@pytest.mark.parametrize("start, scale", [("he", 1.0), ("unit", 2.0)])
def test_fitted_kernels_compute_equation_8_with_least_squares_factors(remap, pieces, start, scale):
    sharing = WeightSharing(start=start, remap=remap, pieces=pieces, scale=scale)
    torch.manual_seed(0)
    pool = sharing.pool_tensor(SHAPE).detach()
    kernel = sharing.kernel(pool)
    count = 1 if remap == "constant" else min(pieces, pool.numel())
    assert kernel.alpha.numel() == count
    factors = least_squares(pool, count, scale)
    np.testing.assert_allclose(kernel.alpha.detach().numpy(), factors, rtol=2e-6)
    np.testing.assert_allclose(kernel(pool).detach().numpy(), equation_8(pool, factors), rtol=5e-6)


def test_pools_start_at_the_scale_of_their_name_and_factors_as_told():
    torch.manual_seed(0)
    shape = (64, 32, 3, 3)
    he, unit = (WeightSharing(start=start).pool_tensor(shape) for start in ("he", "unit"))
    assert he.std().item() == pytest.approx(math.sqrt(2 / (9 * 64)), rel=0.02) and unit.std().item() == pytest.approx(
        1, rel=0.02
    )
    assert torch.equal(WeightSharing(factors="ones").kernel(unit)(unit), unit)
    assert WeightSharing(factors="random").kernel(unit).alpha.min() < 0  # random signs, so T is not monotone
    assert WeightSharing(remap="none").kernel(unit) is None
    with pytest.raises(InputError, match="factors='fitted' is not allowed with remap='released'"):
        WeightSharing(remap="released")
    with pytest.raises(InputError, match="Did you mean 'transform'"):
        WeightSharing(remap="transformed")


def test_the_released_kernel_cuts_by_width_and_loses_the_largest_weight():
    weight = torch.tensor([-1.0, -0.6, 0.0, 0.4, 0.49, 1.0])
    kernel = EqualWidthKernel(4)  # pieces [-1, -0.5), [-0.5, 0), [0, 0.5), [0.5, 1)
    with torch.no_grad():
        kernel.alpha.copy_(torch.tensor([2.0, 3.0, 5.0, 7.0]))
    torch.testing.assert_close(kernel(weight), torch.tensor([-2.0, -1.2, 0.0, 2.0, 2.45, 0.0]))


def integral(log_p, log_q):
    """D(p || q) in float64 by the trapezium rule."""
    z = np.linspace(-60, 60, 1_200_001)
    return np.trapezoid(np.exp(log_p(z)) * (log_p(z) - log_q(z)), z)


def test_closed_divergences_are_the_integrals():
    weight = torch.randn(400, generator=torch.Generator().manual_seed(0), dtype=torch.float64) * 1.7 + 0.3
    gaussian = stats.norm(weight.mean().item(), weight.std(correction=0).item())
    middle = weight.median()
    laplace = stats.laplace(middle.item(), (weight - middle).abs().mean().item())
    for family, fitted, wanted in (
        ("gaussian", gaussian, stats.norm()),
        ("laplace", laplace, stats.laplace(scale=0.8)),
    ):
        ours = divergence_of(weight, family, "closed", scale=0.8).item()
        assert ours == pytest.approx(integral(fitted.logpdf, wanted.logpdf), rel=1e-6)


@pytest.mark.parametrize("family", ["gaussian", "laplace"])
@pytest.mark.parametrize("form", ["entropy", "closed"])
@pytest.mark.parametrize("value", [0.0, 0.3])
def test_equal_weights_are_far_from_any_distribution_but_not_infinitely(family, form, value):
    weight = torch.full((8, 4), value, requires_grad=True)
    found = divergence_of(weight, family, form)
    found.backward()
    assert 10 < found < 20 and weight.grad.isfinite().all()
    assert 10 < WeightSharing(start="he", divergence=form).term(torch.zeros(8, 4), "conv") < 20


@pytest.mark.parametrize("form", ["entropy", "closed", "softmax"])
@pytest.mark.parametrize("count", [0, 1])
def test_too_few_weights_have_no_distribution(form, count):
    with pytest.raises(InputError, match=f"^weight has {count} values; a divergence of .* needs at least 2.$"):
        divergence_of(torch.ones(count), "laplace", form)


def test_whole_numbers_and_a_scale_of_zero_have_no_divergence():
    with pytest.raises(InputError, match=r"weight is torch\.int64; it must be a floating-point tensor"):
        divergence_of(torch.arange(4), "laplace", "closed")
    with pytest.raises(InputError, match="scale=0 is not allowed"):
        divergence_of(torch.randn(4), "laplace", "closed", scale=0)


@pytest.mark.parametrize("family, ideal", [("gaussian", stats.norm()), ("laplace", stats.laplace())])
def test_the_entropy_form_is_near_zero_on_its_target_only_and_leads_there(family, ideal):
    count = 4000
    places = (np.arange(count) + 0.5) / count
    quantiles = torch.from_numpy(ideal.ppf(places))
    assert divergence_of(quantiles, family, "entropy").item() == pytest.approx(0, abs=0.03)
    other = torch.from_numpy((stats.laplace() if family == "gaussian" else stats.norm()).ppf(places))
    assert divergence_of(3 * quantiles, family, "entropy") > 0.5 and divergence_of(other, family, "entropy") > 0.05
    weight = (0.3 * torch.randn(500, generator=torch.Generator().manual_seed(0))).requires_grad_()
    before = divergence_of(weight, family, "entropy")
    before.backward()
    with torch.no_grad():
        assert divergence_of(weight - 5 * weight.grad, family, "entropy") < before


def test_lambda_is_the_scale_that_the_divergence_asks_for():
    wide = laplace_quantiles(4000, 2.0)
    apart = math.log(1 / 2) + 2 - 1  # D(Laplace(0, 2) || Laplace(0, 1))
    for form in ("entropy", "closed"):
        assert divergence_of(wide, "laplace", form, scale=2.0).item() == pytest.approx(0, abs=0.03)
        assert divergence_of(wide, "laplace", form, scale=1.0).item() == pytest.approx(apart, abs=0.03)
    samples = {}
    for scale in (1.0, 2.0):
        torch.manual_seed(0)
        samples[scale] = divergence_of(wide, "laplace", "softmax", scale=scale)
    assert samples[1.0] != samples[2.0]


def test_operators_are_asked_for_their_own_distribution():
    """Convolutions for a Gaussian (of a pool at He's scale for its shape alone), adders for a Laplacian, shift none."""
    weight = 0.3 * torch.randn(8, 6, 3, 3, generator=torch.Generator().manual_seed(0))
    he, unit, wide = WeightSharing(start="he"), WeightSharing(), WeightSharing(scale=2.0)
    shape = divergence_of(weight / weight.std(correction=0), "gaussian", "entropy")
    for factor in (1.0, 5.0):
        torch.testing.assert_close(he.term(factor * weight, "conv"), shape)
        torch.testing.assert_close(
            unit.term(factor * weight, "conv"), divergence_of(factor * weight, "gaussian", "entropy")
        )
    assert abs(unit.term(5 * weight, "conv") - unit.term(weight, "conv")) > 0.1
    for sharing in (he, unit, wide):
        expected = divergence_of(weight, "laplace", "entropy", sharing.scale)
        torch.testing.assert_close(sharing.term(weight, "adder"), expected)
        assert sharing.term(weight, "shift") is None
    released = WeightSharing(remap="released", factors="random", divergence="softmax")
    assert released.term(weight, "adder") > 0 and released.term(weight, "conv") is None


def test_the_released_softmax_divergence_is_inert():
    """Its gradient is below a thousandth of the entropy form's, and equal weights please it more than Laplace ones."""
    count = 4096
    laplace = laplace_quantiles(count, 1.0).float()
    weight = torch.randn(count, generator=torch.Generator().manual_seed(0))
    norms = {}
    for form in ("entropy", "softmax"):
        torch.manual_seed(1)
        leaf = weight.clone().requires_grad_()
        divergence_of(leaf, "laplace", form).backward()
        norms[form] = leaf.grad.norm().item()
    assert 0 < norms["softmax"] < 1e-3 * norms["entropy"]

    def expected(values):
        torch.manual_seed(2)
        return torch.stack([divergence_of(values, "laplace", "softmax") for _ in range(20)]).mean()

    assert expected(torch.zeros(count)) < expected(laplace)


def spacings_by_hand(values):
    """-E log p by m-spacings: the mean log of how far the values m places away lie apart, over how many that are."""
    ordered, count = sorted(values), len(values)
    m = max(1, round(math.sqrt(count) / 2))
    total = 0.0
    for place in range(count):
        above, below = min(place + m, count - 1), max(place - m, 0)
        total += math.log((ordered[above] - ordered[below]) * count / (above - below))
    return total / count


@pytest.mark.parametrize("family", ["gaussian", "laplace"])
def test_equation_7_is_the_entropy_by_spacings_and_the_cross_entropy(family):
    """D(p || q) = -H(p) - E log q in float64, and its gradient by finite differences."""
    weight = torch.randn(40, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    log_q = (stats.norm if family == "gaussian" else stats.laplace(scale=0.7)).logpdf

    def by_hand(values):
        return -spacings_by_hand(values) - float(np.mean(log_q(values)))

    own = weight.clone().requires_grad_()
    found = divergence_of(own, family, "entropy", scale=0.7)
    assert found.item() == pytest.approx(by_hand(weight.tolist()), rel=1e-12)
    found.backward()
    for place in range(0, 40, 7):
        ends = []
        for step in (1e-6, -1e-6):
            moved = weight.clone()
            moved[place] += step
            ends.append(by_hand(moved.tolist()))
        assert own.grad[place].item() == pytest.approx((ends[0] - ends[1]) / 2e-6, abs=1e-7)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
def test_a_factors_gradient_is_the_sum_over_its_piece_in_every_type(dtype):
    kernel = WeightSharing(pieces=3, factors="ones").kernel(torch.randn(3000)).to(dtype)
    kernel(torch.ones(3000, dtype=dtype)).sum().backward()
    assert kernel.alpha.grad.tolist() == [1000.0] * 3
