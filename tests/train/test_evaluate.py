"""Evaluation and the re-estimation of batch-norm statistics."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from torch import nn

from repro.errors import InputError
from repro.runtime import beside
from repro.train import TensorData, evaluate, predict, reestimate_batch_norm


def test_accuracy_counts_every_example_whatever_the_batch_size():
    model = nn.Sequential(nn.Flatten(), nn.Identity())
    images = torch.eye(5).view(5, 5, 1, 1)
    data = TensorData(images, torch.tensor([0, 1, 2, 0, 0]))
    whole = evaluate(model, data)
    assert whole["accuracy_pct"] == evaluate(model, data, batch_size=2)["accuracy_pct"] == pytest.approx(60)
    assert whole["loss"] == pytest.approx(nn.functional.cross_entropy(torch.eye(5), data.labels).item())


def test_evaluation_keeps_modes_and_statistics():
    model = nn.Sequential(nn.BatchNorm2d(2), nn.Flatten())
    model[0].eval()
    before = model[0].running_mean.clone()
    evaluate(model, TensorData(torch.randn(4, 2, 1, 1), torch.zeros(4, dtype=torch.long)))
    assert model.training and not model[0].training and torch.equal(model[0].running_mean, before)


def test_reestimated_statistics_are_the_plain_average_over_batches():
    model = nn.Sequential(nn.BatchNorm2d(3), nn.Conv2d(3, 2, 1), nn.BatchNorm2d(2), nn.Dropout(0.5))
    model[0].running_mean.fill_(99.0)
    batches = list(torch.randn(3, 16, 3, 4, 4, generator=torch.Generator().manual_seed(0)) + 1)
    model.train()
    assert reestimate_batch_norm(model, batches) == 3
    means = torch.stack([batch.mean((0, 2, 3)) for batch in batches]).mean(0)
    variances = torch.stack([batch.var((0, 2, 3)) for batch in batches]).mean(0)
    torch.testing.assert_close(model[0].running_mean, means)
    torch.testing.assert_close(model[0].running_var, variances)
    assert model.training and model[0].momentum == 0.1


def test_layers_that_are_not_reached_keep_their_statistics():
    class Half(nn.Module):
        def __init__(self):
            super().__init__()
            self.used, self.idle = nn.BatchNorm2d(1), nn.BatchNorm2d(1)

        def forward(self, x):
            return self.used(x)

    model = Half()
    model.idle.running_mean.fill_(7.0)
    reestimate_batch_norm(model, [torch.randn(8, 1, 2, 2)])
    assert model.idle.running_mean.item() == 7.0 and model.used.num_batches_tracked == 1


def test_no_batches_is_refused():
    with pytest.raises(InputError, match="batches is empty"):
        reestimate_batch_norm(nn.BatchNorm2d(1), [])
    with pytest.raises(InputError, match="no examples"):
        evaluate(nn.Flatten(), TensorData(torch.zeros(0, 1, 1, 1), torch.zeros(0, dtype=torch.long)))


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_network_whose_outputs_are_not_finite_has_no_accuracy(bad):
    images = torch.eye(5).view(5, 5, 1, 1)
    images[3, 1] = bad
    metrics = evaluate(nn.Flatten(), TensorData(images, torch.zeros(5, dtype=torch.long)))
    assert all(math.isnan(value) for value in metrics.values())


def test_a_class_ruled_out_by_minus_infinity_is_no_fault():
    images = torch.eye(3).view(3, 3, 1, 1)
    images[:, 2] = -math.inf
    data = TensorData(images[:2], torch.tensor([0, 0]))
    assert evaluate(nn.Flatten(), data)["accuracy_pct"] == 50


def test_a_batch_that_fails_leaves_every_statistic_and_mode_as_it_was():
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.BatchNorm2d(4).eval())
    model(torch.randn(8, 3, 6, 6))
    before = copy.deepcopy(model.state_dict())
    with pytest.raises(RuntimeError):
        reestimate_batch_norm(model, [torch.randn(2, 3, 6, 6), torch.randn(2, 5, 6, 6)])
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert [m.training for m in model] == [True, True, False] and model[1].momentum == 0.1


class Elsewhere(nn.Module):
    """A network whose weights lie on torch's device without values, which stands for a GPU here."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(2, device="meta"))
        self.norm = nn.BatchNorm1d(2)
        self.given = []

    def forward(self, x):
        self.given.append(x.device.type)
        return self.norm(torch.ones(len(x), 2)) if self.training or self.norm.training else x.flatten(1)


def test_data_may_lie_on_another_device_than_the_model():
    """As the images of a recipe do where there is a GPU."""
    model = Elsewhere()
    data = TensorData(torch.randn(6, 2, 1, 1), torch.zeros(6, dtype=torch.long))
    assert reestimate_batch_norm(model, data.input_batches(2)) == 3
    logits = predict(model, data, batch_size=2)
    assert model.given == ["meta"] * 6 and logits.device.type == "meta"
    assert beside(data.labels, logits).device.type == "meta"
    assert beside(data.labels, nn.Flatten()) is data.labels
