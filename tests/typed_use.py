"""What a user writes: `make lint` lets mypy read it against the annotations of the package, and nothing runs it.

A line that ends in `type: ignore` is a mistake that the annotations must show: mypy complains if they do not.
"""

import torch
from torch import nn

from repro import cost, datasets, runs, search
from repro.augment import AugmentRecipe, augment, fit_augmented
from repro.layers import AdderConv2d, ShiftConv2d, convert, make_conv2d, quantize_adders, to_conv
from repro.models import create, list_models, load_weights, save_weights
from repro.ops import adder_conv2d, round_to_power_of_two
from repro.papers import run_table
from repro.report import compare, judge_all
from repro.train import AdaptiveLR, History, TensorData, TrainRecipe, fit
from repro.train.imagefolder import ImageFolder


def layers() -> nn.Module:
    model = nn.Sequential(AdderConv2d(3, 16, 3, padding=1), ShiftConv2d(16, 8, (3, 3), weight_bits=5))
    AdderConv2d(3, 16, "3")  # type: ignore[arg-type]
    ShiftConv2d(16, 8, 3, weight_bits="5")  # type: ignore[arg-type]
    make_conv2d("adder", 3, 16, 3)
    adder_conv2d(torch.ones(1, 3, 8, 8), torch.ones(4, 3, 3, 3), padding=1)
    round_to_power_of_two(torch.ones(3))
    quantize_adders(model)
    return to_conv(convert(model, to="adder", skip=["0"]))


def training(model: nn.Module, data: TensorData) -> float:
    history: History = fit(model, data, None, TrainRecipe(epochs=1, batch_size=32), seed=0)
    fit(model, data, None, TrainRecipe(epochs=1))  # type: ignore[call-arg]
    fit(model, 32, None, TrainRecipe(epochs=1), seed=0)  # type: ignore[arg-type]
    fit(model, datasets.load("digits", "train"), ImageFolder("imagenet", "val"), TrainRecipe(epochs=1), seed=0)
    TrainRecipe(epochs="1")  # type: ignore[arg-type]
    AdaptiveLR(torch.optim.SGD(model.parameters(), lr=0.05), model, mode="adder")
    network = augment(model, width=2.2, op="shift", remap="laplace")
    fit_augmented(network, data, TrainRecipe(epochs=1), AugmentRecipe(), seed=0)
    return history.accuracy_pct


def models() -> int:
    network = create("ghostnet", width=0.5, num_classes=10, op="adder")
    create("ghostnet", num_classes="10")  # type: ignore[arg-type]
    recipe: dict[str, object] = load_weights(network, save_weights(network, "weights.safetensors"))
    cost.model_cost(network, 32)
    cost.model_cost(network, torch.ones(1, 3, 32, 32))
    cost.count(network, 32)
    return len(recipe) + len(list_models())


def tables(context: runs.RunContext) -> int:
    frame = run_table("acghostnet_t06", preset="smoke", seeds=[0])
    run_table("acghostnet_t06", seeds=0)  # type: ignore[arg-type]
    compare("acghostnet_t06", frame)
    judge_all({"acghostnet_t06": frame})
    spec = runs.RunSpec("network", "package.module:run", {"width": 1.0}, seed=0)
    context.log(epoch=1)
    searched: type = search.Evolution
    return len(spec.identity) + len(searched.__name__)
