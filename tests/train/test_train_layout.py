"""Which models train in channels-last."""

import pytest
from torch import nn

from repro.train import Trainer, TrainRecipe
from repro.train.loop import unsafe_in_channels_last


@pytest.mark.parametrize(
    ("layer", "unsafe"),
    [(nn.Conv2d(4, 8, 1, stride=2), True), (nn.Conv2d(4, 8, 1), False), (nn.Conv2d(4, 8, 3, stride=2), False)],
    ids=["strided 1x1", "1x1", "strided 3x3"],
)
def test_models_with_strided_pointwise_convolutions_keep_the_ordinary_layout(layer, unsafe):
    model = nn.Sequential(layer, nn.BatchNorm2d(8))
    assert unsafe_in_channels_last(model) == unsafe
    assert Trainer(model, TrainRecipe(channels_last=True), examples=8, seed=0).channels_last != unsafe
    assert not Trainer(model, TrainRecipe(channels_last=False), examples=8, seed=0).channels_last
