"""Mixed precision in every kind of training, and parts of a batch in those on images."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn.modules.module import register_module_forward_hook

from tests.train.over_processes import TRAININGS

ON_IMAGES = sorted(TRAININGS.keys() - {"translation"})
"""A translation network accumulates whole batches (test_translation)."""


@pytest.fixture
def trained():
    """Trains by name; returns model, history, and what its layers computed while they trained: (dtype, examples)."""
    seen: set[tuple[torch.dtype, int]] = set()

    def look(module: nn.Module, inputs, output) -> None:
        if module.training and isinstance(module, nn.Conv2d | nn.BatchNorm2d | nn.Linear):
            seen.add((output.dtype, len(inputs[0])))

    def train(name, **changes):
        seen.clear()
        model, history = TRAININGS[name](**changes)
        return model, history, {dtype for dtype, _ in seen}, {count for _, count in seen}

    handle = register_module_forward_hook(look)
    yield train
    handle.remove()


# Weights of P and S that a bfloat16 gradient carries over a rounding, and others do not, are another network.
@pytest.mark.parametrize("name", sorted(TRAININGS.keys() - {"shifts"}))
def test_bfloat16_computes_forward_passes_and_leaves_weights_in_float32(name, trained):
    _, exact, dtypes, _ = trained(name)
    assert dtypes == {torch.float32}
    model, rounded, dtypes, _ = trained(name, precision="bfloat16")
    assert torch.bfloat16 in dtypes and {weight.dtype for weight in model.parameters()} == {torch.float32}
    assert rounded.outcome == exact.outcome == "finished"
    losses = [history.last("train_loss") for history in (exact, rounded)]
    assert losses[1] == pytest.approx(losses[0], rel=0.05) and losses[0] != losses[1]


@pytest.mark.parametrize("name", ON_IMAGES)
def test_parts_of_a_batch_are_half_as_large_and_make_as_many_steps(name, trained):
    _, whole, _, of_whole = trained(name)
    _, parts, _, of_parts = trained(name, accumulate=2)
    # A re-estimate of batch norm, too, sees its images in training mode, all at once.
    assert max(of_whole) // 2 in of_parts - of_whole and parts.outcome == whole.outcome == "finished"
    assert [row["steps"] for row in parts.rows] == [row["steps"] for row in whole.rows]
    assert parts.last("train_loss") == pytest.approx(whole.last("train_loss"), rel=0.1)  # batch norm sees the parts
