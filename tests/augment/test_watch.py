"""A watched training is the training itself, and its notes are what the exchanges did."""

import itertools

import pytest
import torch

from repro.augment import AugmentRecipe, augment, fit_augmented, remapping
from repro.augment.costs import macs, mean_macs
from repro.augment.network import Sample
from repro.augment.watch import watch_channels
from repro.errors import InputError
from repro.models import create
from repro.models.trace import trace
from repro.papers.shiftaddaug.networks import SMALL
from repro.train import TensorData, TrainRecipe

RECIPE = TrainRecipe(epochs=2, batch_size=16, lr=0.1, nesterov=True)


def network(model="MobileNetV2-w0.35", family="mobilenet_v2", **options):
    torch.manual_seed(0)
    target = create(family, spec=SMALL[model], in_channels=1, num_classes=4)
    return augment(target, **{"width": 1.6, "expand": 2.2, "remap": remapping("laplace")} | options)


@pytest.fixture(scope="module")
def watched():
    """(network, history, notes) of a training, and the same network trained without watching."""
    draw = torch.Generator().manual_seed(1)
    data = TensorData(torch.randn(32, 1, 16, 16, generator=draw), torch.randint(4, (32,), generator=draw))
    seen, plain = network(), network()
    history, notes = watch_channels(seen, data, RECIPE, AugmentRecipe(width_ends=1.0), seed=3)
    fit_augmented(plain, data, RECIPE, AugmentRecipe(width_ends=1.0), seed=3)
    return seen, history, notes, plain


def test_a_plain_network_is_refused():
    with pytest.raises(InputError, match=r"network is a Linear; it must be what repro\.augment\.augment returns"):
        watch_channels(torch.nn.Linear(1, 1), None, TrainRecipe(), AugmentRecipe(), seed=0)


def test_watching_changes_nothing(watched):
    seen, _, _, plain = watched
    for (name, mine), other in zip(seen.state_dict().items(), plain.state_dict().values(), strict=True):
        assert torch.equal(mine, other), name


def test_notes_are_what_the_exchanges_did(watched):
    seen, history, notes, _ = watched
    layers = {note["layer"] for note in notes}
    assert layers == {f"blocks.{number}.expand.conv" for number in (1, 2, 3, 4)} and len(notes) == 3 * len(layers)
    inside = [
        {
            (note["layer"], channel)
            for note in notes
            if note["epoch"] == epoch
            for channel in note["channel"][: note["target"]]
        }
        for epoch in range(3)
    ]
    came = [len(now - before) for before, now in itertools.pairwise(inside)]
    assert came == [row["moved"] for row in history.rows] and came[0] > 0
    for note in notes:
        assert sorted(note["channel"]) == list(range(len(note["importance"])))
        if note["epoch"] == 0:
            assert note["channel"] == sorted(note["channel"])
    last = next(note for note in notes if note["epoch"] == 2 and note["layer"] == "blocks.1.expand.conv")
    reader = dict(seen.wide_layers())["blocks.1.project.conv"].weight
    assert last["importance"] == pytest.approx(reader.detach().abs().sum((0, 2, 3)).tolist())


@pytest.mark.parametrize(
    ("model", "family"), [("MobileNetV2-w0.35", "mobilenet_v2"), ("MobileNetV3-w0.35", "mobilenet_v3_large")]
)
def test_macs_are_those_of_the_layers_that_run(model, family):
    whole = network(model, family, depth=1)
    target = create(family, spec=SMALL[model], in_channels=1, num_classes=4)
    layers = trace(target, (1, 16, 16))
    pixels = {layer.name: layer.out_height * layer.out_width for layer in layers}
    ones = Sample((1.0,) * len(whole.groups))
    own, counted = sum(layer.taps for layer in layers), {}

    def count(name):
        def hook(layer, args, y):
            inputs = 1 if getattr(layer, "depthwise", False) else args[0].shape[layer.dim]
            places = y[0, 0].numel() if y.ndim == 4 else 1
            counted[name] = places * layer.weight[0, 0].numel() * inputs * y.shape[layer.dim]

        return hook

    handles = [layer.register_forward_hook(count(name)) for name, layer in whole.wide_layers()]
    whole(torch.zeros(1, 1, 16, 16), ones)
    extra = sum(value for name, value in counted.items() if "blocks_of_depth" in name)
    assert extra > 0 and macs(whole, pixels, ones) == sum(counted.values()) == own + extra
    whole(torch.zeros(1, 1, 16, 16), whole.full)
    assert macs(whole, pixels, whole.full) == sum(counted.values())
    for handle in handles:
        handle.remove()
    assert own < mean_macs(whole, pixels, draws=8) < macs(whole, pixels, whole.full)
    with pytest.raises(InputError, match="draws=0"):
        mean_macs(whole, pixels, draws=0)
