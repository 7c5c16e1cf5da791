"""R of equation 5 and what it is compared with, against scipy's distributions in float64."""

import numpy as np
import pytest
import torch
from scipy import special, stats
from torch import nn

from repro.augment import REMAPPINGS, gaussian_to_laplacian, laplace_scales, remapping
from repro.augment.remap import to_laplacian
from repro.augment.remapping import FittedRemap, KernelRemap, LaplaceRemap, PenaltyOnly, normal_scores
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
    np.testing.assert_allclose(scores.grad.numpy(), hazard, rtol=2e-4)  # exponents of some -800 in float32


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


def test_penalties():
    target = W[:5]
    own, whole = (float(target.mean()), float(target.std(correction=0))), (float(W.mean()), float(W.std(correction=0)))
    kl = np.log(whole[1] / own[1]) + (own[1] ** 2 + (own[0] - whole[0]) ** 2) / (2 * whole[1] ** 2) - 0.5
    assert float(PenaltyOnly().penalty(target, W)) == pytest.approx(10 * kl)
    torch.manual_seed(0)
    kernel = KernelRemap(random=False).double()
    # softmax over so many weights leaves next to nothing to pull on: the released penalty is inert
    assert 0 < float(kernel.penalty(target, W)) < 0.05


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


def test_bad_settings_are_refused():
    with pytest.raises(InputError, match="scale=0"):
        LaplaceRemap(0.0)
    with pytest.raises(InputError, match="adder_scale=-1"):
        remapping("laplace", adder_scale=-1)
    with pytest.raises(InputError, match="trained=None"):
        remapping("linear_skip_freeze")
