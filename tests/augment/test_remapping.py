"""R of equation 5 and what it is compared with, against scipy's distributions in float64."""

import numpy as np
import pytest
import torch
from scipy import special, stats
from torch import nn

from repro.augment import REMAPPINGS, augment, gaussian_to_laplacian, laplace_scales, remapping
from repro.augment.layers import WideConv2d
from repro.augment.remap import to_laplacian
from repro.augment.remapping import (
    FITTED,
    FittedRemap,
    KernelRemap,
    LaplaceRemap,
    PenaltyOnly,
    QuantileRemap,
    normal_scores,
)
from repro.errors import InputError
from repro.layers import AdderConv2d

W = torch.randn(40, 30, 3, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(2)) * 0.1 + 0.01
STATISTICS = {"mean": W.mean(), "std": W.std(correction=0)}


@pytest.mark.parametrize("scale", [None, 0.7])
def test_r_is_the_laplace_quantile_of_the_gaussian_probability(scale):
    b = scale or float(W.std(correction=0)) / 2**0.5
    gauss = stats.norm(float(W.mean()), float(W.std(correction=0)))
    wanted = stats.laplace(0, b).ppf(gauss.cdf(W.numpy()))
    found = LaplaceRemap(scale)(W, **STATISTICS)
    np.testing.assert_allclose(found.numpy(), wanted, rtol=1e-9, atol=1e-9)
    assert float(found.std(correction=0)) == pytest.approx(float(LaplaceRemap(scale).deviation(W.std())), rel=0.05)


def test_the_small_laplace_part_is_added_to_the_weights():
    """Sec. 3.3: a shift weight is the convolution's "plus a Laplace distribution with a small variance", b = 0.1 s."""
    mean, std = float(W.mean()), float(W.std(correction=0))
    wanted = W.numpy() + stats.laplace(0, 0.1 * std).ppf(stats.norm(mean, std).cdf(W.numpy()))
    remap = remapping("small_laplace")("x", "shift", nn.Conv2d(1, 1, 1))
    np.testing.assert_allclose(remap(W, **STATISTICS).numpy(), wanted, rtol=1e-9, atol=1e-9)
    assert float(remap.deviation(STATISTICS["std"])) == pytest.approx(wanted.std(), rel=0.005)
    adder = remapping("small_laplace", adder_scale=0.7)("x", "adder", nn.Conv2d(1, 1, 1))
    assert torch.equal(adder(W, **STATISTICS), LaplaceRemap(0.7)(W, **STATISTICS))


def test_r_is_finite_far_out_and_its_gradient_is_that_of_a_difference():
    far = torch.tensor([-60.0, -12.0, 0.0, 12.0, 60.0], dtype=torch.float32)
    remapped = gaussian_to_laplacian(far, 1.0, mean=0.0, std=1.0)
    assert remapped.isfinite().all() and remapped.diff().gt(0).all() and remapped[2] == 0
    w = (torch.randn(20, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) * 2).requires_grad_()
    assert torch.autograd.gradcheck(lambda v: gaussian_to_laplacian(v, 0.4, mean=0.1, std=0.9), w)


def test_r_is_right_for_every_size_of_weight_in_float32():
    """Relative error, by scipy's logarithms in float64: next to zero, where formulas meet, and beyond erfc's range."""
    sizes = np.array([1e-30, 1e-7, 1e-4, 0.3, 0.705, 0.709, 1.0, 4.0, 12.7, 12.8, 13.5, 40.0], dtype=np.float32)
    z = np.concatenate([-sizes, sizes])
    wanted = -np.sign(z) * np.log1p(-special.erf(np.abs(z.astype(np.float64)) / np.sqrt(2)).clip(max=0.99))
    wanted = np.where(
        np.abs(z) < 1, wanted, -np.sign(z) * (special.log_ndtr(-np.abs(z.astype(np.float64))) + np.log(2))
    )
    scores = torch.from_numpy(z).requires_grad_()
    found = to_laplacian(scores, 0.0, 1.0, 1.0)
    np.testing.assert_allclose(found.detach().numpy(), wanted, rtol=1e-6)
    found.sum().backward()
    hazard = np.exp(stats.norm.logpdf(z.astype(np.float64)) - stats.norm.logsf(np.abs(z.astype(np.float64))))
    np.testing.assert_allclose(scores.grad.numpy(), hazard, rtol=1e-6)


def test_r_and_its_slope_are_finite_for_every_finite_weight():
    """The slope of r is the hazard of the Gaussian, z + 1 / z far out; differences of large exponents lose it."""
    for dtype in (torch.float32, torch.float64):
        z = torch.tensor([200.0, 3e4, 1e10, float(torch.finfo(dtype).max)], dtype=dtype, requires_grad=True)
        found = to_laplacian(z, 0.0, 1.0, 0.5)
        (slope,) = torch.autograd.grad(found.sum(), z)
        assert found.isfinite().all() and slope.isfinite().all()
        np.testing.assert_allclose(slope[:3].numpy(), 0.5 * (z + 1 / z)[:3].detach().numpy(), rtol=1e-6)
    for value in (0.0, 0.1, 1 / 3):  # weights that are all the same: a spread of rounding alone, and none
        weight = torch.full((7, 3), value, requires_grad=True)
        for std in (weight.detach().std(correction=0), torch.tensor(0.0)):
            remapped = LaplaceRemap(0.7)(weight, mean=weight.detach().mean(), std=std)
            (slope,) = torch.autograd.grad(remapped.sum(), weight)
            assert remapped.abs().max() <= 1.5 and slope.isfinite().all()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_r_of_half_precision_is_that_of_float32_rounded(dtype):
    w = torch.randn(500, generator=torch.Generator().manual_seed(3)).to(dtype)
    found = to_laplacian(w, 0.0, 1.0, 0.7)
    assert found.dtype == dtype and torch.equal(found, to_laplacian(w.float(), 0.0, 1.0, 0.7).to(dtype))


def test_with_even_steps_r_moves_as_weights_without_r_would():
    """One step along the gradient: R(W) moves along the gradient at R(W), by the same factor everywhere."""
    w, wanted = W[:5].clone().requires_grad_(), torch.randn(5, 30, 3, 3, dtype=torch.float64)
    even, plain = LaplaceRemap(0.7, even=True), LaplaceRemap(0.7)
    assert torch.equal(even(w, **STATISTICS), plain(w, **STATISTICS))
    step = 1e-9 * torch.autograd.grad(even(w, **STATISTICS), w, wanted)[0]
    moved = (even(w + step, **STATISTICS) - even(w, **STATISTICS)) / wanted
    factor = float(2 * 0.7**2 / STATISTICS["std"] ** 2) * 1e-9  # of weights scaled to the same deviation
    torch.testing.assert_close(moved, torch.full_like(moved, factor), rtol=1e-5, atol=0)
    scaled = remapping("scaled", adder_scale=0.7)("x", "adder", nn.Conv2d(1, 1, 1))
    step = 1e-9 * torch.autograd.grad(scaled(w, **STATISTICS), w, wanted)[0]
    moved = (scaled(w + step, **STATISTICS) - scaled(w, **STATISTICS)) / wanted
    torch.testing.assert_close(moved, torch.full_like(moved, factor), rtol=1e-5, atol=0)


def walked(name, steps=200):
    """(share of its square in the largest 5 % of R(W), its deviation) after adders' steps in random directions.

    Adders' steps: of a length that the gradient does not change, in 432 target weights of a layer of 3,000.
    """
    generator = torch.Generator().manual_seed(0)
    whole = (torch.rand(3000, generator=generator) * 2 - 1) * 0.08
    remap = remapping(name, adder_scale=4.9)("x", "adder", nn.Conv2d(1, 1, 1))
    for _ in range(steps):
        statistics = {"mean": whole.mean(), "std": whole.std(correction=0)}
        target = whole[:432].clone().requires_grad_()
        pull = torch.randn(432, generator=generator)
        (gradient,) = torch.autograd.grad(remap(target, **statistics), target, pull)
        length = statistics["std"] / remap.deviation(statistics["std"])
        whole[:432] -= 0.6 * gradient * length / gradient.square().mean().sqrt()
    remapped = remap(whole[:432], mean=whole.mean(), std=whole.std(correction=0))
    squares = remapped.square().sort().values
    return float(squares[-22:].sum() / squares.sum()), float(remapped.std())


def test_steps_through_the_slope_of_r_end_in_a_few_weights_and_even_ones_do_not():
    """Why adders train badly under equation 5: a Gaussian has 28 % there, a Laplace distribution 42 %."""
    assert walked("laplace")[0] > 0.6 and walked("laplace")[1] > 1.5 * walked("laplace_even")[1]
    for name in ("laplace_even", "scaled"):
        assert walked(name)[0] < 0.36


@pytest.mark.filterwarnings("ignore:adder layers without a normalisation")
def test_adder_filters_without_r_outweigh_every_channel_that_could_replace_them():
    """Importance is a column's L1 norm: 0.8 a weight in N(0, 1), a tenth of it or less elsewhere, so nothing moves."""
    torch.manual_seed(0)
    expand, project = nn.Conv2d(3, 12, 1, bias=False), nn.Conv2d(12, 4, 1, bias=False)
    depthwise = nn.Conv2d(12, 12, 3, padding=1, groups=12, bias=False)
    block = [expand, nn.BatchNorm2d(12), nn.ReLU(), depthwise, nn.BatchNorm2d(12), nn.ReLU(), project]
    network = nn.Sequential(*block, nn.BatchNorm2d(4), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3))
    moved = {
        name: sum(augment(network, width=2.2, expand=2.2, op="adder", remap=name).reorder_().values())
        for name in (None, "laplace", "scaled")
    }
    assert moved[None] == 0 and moved["laplace"] > 3 and moved["scaled"] > 3


def test_what_r_does_to_shift_weights():
    """Rounded after r a filter is less like itself than rounded alone; with W + r(W), b = 0.1 s, it is as before."""
    w = np.random.RandomState(0).normal(0, 0.1, 200_000)

    def rounded(v):
        return np.sign(v) * 2.0 ** np.clip(np.round(np.log2(np.abs(v))), -14, 0)

    statistics = {"mean": torch.tensor(w.mean()), "std": torch.tensor(w.std())}
    laplace = rounded(LaplaceRemap()(torch.tensor(w), **statistics).numpy())
    added = rounded(LaplaceRemap(added=True)(torch.tensor(w), **statistics).numpy())
    correlation = [np.corrcoef(w, each)[0, 1] for each in (rounded(w), laplace, added)]
    assert correlation == pytest.approx([0.981, 0.963, 0.981], abs=0.002)
    assert [np.mean(rounded(w) != each) for each in (laplace, added)] == pytest.approx([0.44, 0.15], abs=0.01)


def test_normal_scores_keep_order_mean_and_deviation_and_are_gaussian():
    skewed = torch.from_numpy(np.random.RandomState(1).exponential(1.0, 5000))
    scores = normal_scores(skewed)
    assert (scores.argsort() == skewed.argsort()).all()
    assert float(scores.mean()) == pytest.approx(float(skewed.mean()))
    assert stats.kstest(scores.numpy(), stats.norm(scores.mean(), scores.std()).cdf).statistic < 0.002


def test_a_fitted_fc_is_the_least_squares_map_to_normal_scores_and_is_frozen():
    trained = torch.from_numpy(np.random.RandomState(1).standard_t(3, (30, 20, 3, 3)))
    remap = FittedRemap(trained, LaplaceRemap())
    assert not list(remap.parameters())
    slices, wanted = trained.reshape(-1, 9), normal_scores(trained.reshape(-1, 9))
    residual = wanted - remap.corrected(trained).reshape(-1, 9)
    columns = torch.cat([slices, torch.ones(len(slices), 1, dtype=torch.float64)], 1)
    assert (columns.T @ residual).abs().max() < 1e-6  # the normal equations
    assert residual.square().mean() < (wanted - slices).square().mean()


def test_r_follows_the_frozen_linear_map_in_one_of_its_two_readings():
    trained = {"x": torch.from_numpy(np.random.RandomState(1).standard_t(3, (30, 20, 3, 3)))}
    bare, then_r = (
        remapping(f"linear_skip_freeze{end}", trained=trained)("x", "shift", nn.Conv2d(20, 30, 3)) for end in ("", "_r")
    )
    assert torch.equal(bare(W, **STATISTICS), bare.corrected(W)) and bare.deviation(STATISTICS["std"]) == W.std(
        correction=0
    )
    assert torch.equal(then_r(W, **STATISTICS), LaplaceRemap()(bare.corrected(W), **STATISTICS))


@pytest.mark.parametrize("skewed", [False, True])
def test_a_quantile_map_makes_the_weights_it_was_fitted_to_gaussian(skewed):
    random = np.random.RandomState(3)
    trained = torch.from_numpy(random.exponential(0.1, (20, 10, 3, 3)) if skewed else random.laplace(0, 0.2, (1800,)))
    statistics = {"mean": trained.mean(), "std": trained.std(correction=0)}
    remap = QuantileRemap(trained, LaplaceRemap(0.7))
    corrected = remap.corrected(trained, **statistics)
    order = trained.reshape(-1).argsort()
    assert corrected.reshape(-1)[order].diff().gt(-1e-9).all() and not list(remap.parameters())
    far = stats.kstest(trained.numpy().ravel(), stats.norm(*(float(v) for v in statistics.values())).cdf).statistic
    near = stats.kstest(corrected.numpy().ravel(), stats.norm(*(float(v) for v in statistics.values())).cdf).statistic
    assert near < 0.02 < far
    torch.testing.assert_close(remap(trained, **statistics), LaplaceRemap(0.7)(corrected, **statistics))
    w = trained.reshape(-1)[:20].clone().requires_grad_()
    assert torch.autograd.gradcheck(lambda v: remap(v, **statistics), w, eps=1e-8, atol=1e-4)


def test_a_quantile_map_of_weights_that_are_all_the_same_changes_nothing():
    remap = QuantileRemap(torch.full((4, 3), 0.2), LaplaceRemap())
    torch.testing.assert_close(remap.corrected(W, **STATISTICS).float(), W.float())
    with pytest.raises(InputError, match="knots=1"):
        QuantileRemap(W, LaplaceRemap(), knots=1)


def test_a_fit_to_one_weight_is_finite_and_so_is_the_pull_on_weights_that_are_all_the_same():
    assert FittedRemap(torch.tensor([[0.3]]), LaplaceRemap()).corrected(torch.tensor([[0.3]])).isfinite().all()
    weight = torch.full((3, 2), 0.25, requires_grad=True)
    pull = PenaltyOnly().penalty(weight, W.float())
    assert pull.isfinite() and torch.autograd.grad(pull, weight)[0].isfinite().all()


def test_penalties():
    target = W[:5]
    own, whole = (float(target.mean()), float(target.std(correction=0))), (float(W.mean()), float(W.std(correction=0)))
    kl = np.log(whole[1] / own[1]) + (own[1] ** 2 + (own[0] - whole[0]) ** 2) / (2 * whole[1] ** 2) - 0.5
    assert float(PenaltyOnly().penalty(target, W)) == pytest.approx(10 * kl)
    torch.manual_seed(0)
    kernel = KernelRemap(random=False).double()
    # softmax over so many weights leaves next to nothing to pull on: the released penalty is inert
    assert 0 < float(kernel.penalty(target, W).detach()) < 0.05


@pytest.mark.parametrize("taps", [1, 9])
def test_the_linear_remap_is_a_trained_map_over_the_taps_of_a_filter(taps):
    torch.manual_seed(0)
    weight = torch.randn(6, 4, 3, 3) if taps == 9 else torch.randn(6, 4)
    remap = remapping("linear")("x", "shift", nn.Conv2d(4, 6, 3) if taps == 9 else nn.Linear(4, 6))
    matrix, offset = (parameter.detach().double().numpy() for parameter in remap.parameters())
    assert matrix.shape == (taps, taps) and abs(matrix).max() <= taps**-0.5  # torch's own start
    wanted = np.einsum("oit,st->ois", weight.double().numpy().reshape(6, 4, taps), matrix) + offset
    np.testing.assert_allclose(remap(weight, **STATISTICS).detach().numpy().reshape(6, 4, taps), wanted, atol=1e-6)


def test_the_kernel_scales_runs_of_the_sorted_weights_and_its_penalty_is_the_released_one():
    """ShiftAddNAS, equation 8: d runs of equal length in descending order, each times its factor."""
    torch.manual_seed(0)
    remap = remapping("kernel")("x", "shift", nn.Conv2d(1, 1, 1)).double()
    factors = remap.kernel.alpha.detach().numpy()
    assert len(factors) == 100 and abs(factors.mean()) < 0.4 and 0.7 < factors.std() < 1.3  # N(0, 1) as released
    flat = W.numpy().ravel()
    wanted, order = np.empty_like(flat), np.argsort(-flat, kind="stable")
    for factor, run in zip(factors, np.array_split(order, 100)):
        wanted[run] = factor * flat[run]
    found = remap(W, **STATISTICS).detach().numpy().ravel()
    np.testing.assert_allclose(found, wanted, rtol=1e-12)

    few = W[0, :4]
    torch.manual_seed(7)
    penalty = float(remap.penalty(few, W).detach())
    torch.manual_seed(7)  # the same Laplace(0, 2) sample
    sample = 2 * torch.empty(36, dtype=torch.float64).exponential_()
    sample = (sample * torch.sign(torch.rand(36, dtype=torch.float64) - 0.5)).numpy()
    log_p, log_q = (special.log_softmax(v) for v in (sample, remap(few, **STATISTICS).detach().numpy().ravel()))
    assert penalty == pytest.approx(10 * (np.exp(log_p) * (log_p - log_q)).mean(), rel=1e-9)


def test_r_by_the_targets_statistics_gives_what_they_ask_for():
    """The deviation of R(W) is that of the Laplace distribution also where the target's weights are wider."""
    torch.manual_seed(0)
    for op, wanted in (("adder", 2.0 * 2**0.5), ("shift", None)):
        conv = nn.Conv2d(8, 64, 3)
        remap = remapping("laplace_own", adder_scale=2.0)("x", op, conv)
        layer = WideConv2d(conv, op, (24, 192), remap=remap)
        with torch.no_grad():
            layer.raw_target_weight().normal_(std=0.5)
            mapped, own = layer.target_weight(), layer.raw_target_weight().std(correction=0)
        assert float(own) > 1.5 * float(layer.weight.std())
        assert float(mapped.std()) == pytest.approx(wanted or float(own), rel=0.05)
        assert float(layer.memory_scale()) == pytest.approx(float(own) / (wanted or float(own)), rel=1e-5)


@pytest.mark.parametrize("name", REMAPPINGS)
def test_every_remapping_keeps_shape_and_gives_finite_gradients(name):
    layer = nn.Conv2d(4, 6, 3)
    make = remapping(name, trained={"x": torch.randn(6, 4, 3, 3)})
    for op in ("shift", "adder"):
        weight = torch.randn(6, 4, 3, 3, requires_grad=True)
        remap = make("x", op, layer)
        y = remap(weight, mean=weight.detach().mean(), std=weight.detach().std())
        y.square().sum().backward()
        assert y.shape == weight.shape and weight.grad.isfinite().all() and weight.grad.abs().sum() > 0


def test_the_scale_of_adder_weights_is_the_maximum_likelihood_one():
    model = nn.Sequential(AdderConv2d(8, 8, 3), nn.Conv2d(3, 3, 1))
    weight = model[0].weight.detach().double().numpy().reshape(-1)
    assert laplace_scales(model, AdderConv2d)["0"] == pytest.approx(stats.laplace.fit(weight)[1], rel=1e-3)


def test_each_adder_layer_takes_its_own_scale_and_none_is_made_up():
    make = remapping("laplace", adder_scale={"x": 2.5, "y": 0.5})
    assert [make(name, "adder", nn.Conv2d(1, 1, 1)).scale for name in "xy"] == [2.5, 0.5]
    assert make("z", "shift", nn.Conv2d(1, 1, 1)).scale is None
    with pytest.raises(InputError, match="no scale of 'z'"):
        make("z", "adder", nn.Conv2d(1, 1, 1))
    with pytest.raises(InputError, match=r"adder_scale\['x'\]=0.0"):
        remapping("laplace", adder_scale={"x": 0.0})


def test_bad_settings_are_refused():
    for weight in ([0.1, 0.2], torch.tensor([1, 2])):
        with pytest.raises(InputError, match="it must be a floating-point tensor"):
            gaussian_to_laplacian(weight, 1.0)
    for name in ("location", "mean"):
        with pytest.raises(InputError, match=f"{name}=nan is not allowed"):
            gaussian_to_laplacian(torch.tensor([0.1, 0.2]), 1.0, **{name: float("nan")})
    with pytest.raises(InputError, match="scale=0"):
        LaplaceRemap(0.0)
    with pytest.raises(InputError, match="adder_scale=-1"):
        remapping("laplace", adder_scale=-1)
    for name in FITTED:
        with pytest.raises(InputError, match="trained=None"):
            remapping(name)
        with pytest.raises(InputError, match="trained has no weights of 'x', which"):
            remapping(name, trained={})("x", "shift", nn.Conv2d(4, 4, 3))
        with pytest.raises(InputError, match=r"trained\['x'\] has the shape \(4, 4, 5, 5\); .* end in \(3, 3\)"):
            remapping(name, trained={"x": torch.randn(4, 4, 5, 5)})("x", "shift", nn.Conv2d(4, 4, 3))
    with pytest.raises(InputError, match="std='a' is not allowed; it must be a positive number"):
        gaussian_to_laplacian(torch.tensor([0.1, 0.2]), 1.0, std="a")
    with pytest.raises(InputError, match="weight holds NaN or infinity"):
        gaussian_to_laplacian(torch.tensor([0.1, torch.nan]), 1.0)


def test_r_works_under_torch_func_and_has_no_forward_mode():
    weight = torch.randn(3, 5, generator=torch.Generator().manual_seed(0))

    def r(weight):
        return to_laplacian(weight, 0.1, 0.9, 0.2)

    leaf = weight.clone().requires_grad_()
    r(leaf).sum().backward()
    assert torch.equal(torch.func.grad(lambda w: r(w).sum())(weight), leaf.grad)
    assert torch.equal(torch.func.vmap(torch.func.grad(lambda w: r(w).sum()))(weight), leaf.grad)
    assert torch.equal(torch.func.vmap(r)(weight), r(weight))
    with pytest.raises(NotImplementedError, match="forward-mode"):
        torch.func.jvp(r, (weight,), (weight,))
