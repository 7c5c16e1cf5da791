"""SuperNet, SubNet, TargetNet: what a genome of table 2 means, limits, the search as a run, what it found."""

from __future__ import annotations

import random

import pytest
import torch

from repro.augment.network import _target_name, is_extra
from repro.cost.mobile import MobileCosts
from repro.errors import InputError
from repro.layers import AdderConv2d, ShiftConv2d, ShiftLinear
from repro.models import create
from repro.papers.data import DataRecipe
from repro.papers.shiftaddaug import f04, found, searched
from repro.papers.shiftaddaug.found import TwoStageRun
from repro.papers.shiftaddaug.searches import FoundRecipe
from repro.papers.shiftaddaug.space import AugmentationSpace
from repro.papers.shiftaddaug.two_stage import (
    Budget,
    TargetSpace,
    _deployed_names,
    adder_scales,
    find_subnet,
    find_target,
    inside_of,
)
from repro.runs.executor import attempt, outcome_of
from repro.search.elastic import ElasticNetwork, ElasticSpace
from repro.train import TensorData, TrainRecipe

SPACE = ElasticSpace(
    stem=12,
    first=12,
    stages=((16, 2), (20, 2)),
    widths=(0.75, 1.0),
    kernels=(3, 5),
    expansions=(3, 5),
    depths=(1, 2, 3),
)
SUBNET = SPACE.genes.check((1.0, 2, 3, 3, 5, 5, 3, 3, 3, 5, 5, 3, 3, 3, 5))
TRAIN = TrainRecipe(epochs=1, batch_size=32, lr=0.05, nesterov=True, weight_decay=4e-5)
RUN = TwoStageRun(
    data=DataRecipe("glyphs", train_images=128, test_images=64, held_out=0.5),
    space=SPACE,
    train=TRAIN,
    subnet=Budget({"macs": 200_000}, population=4, rounds=1, parents=0.5),
    target=Budget({"energy_mj": 0.0015}, population=3, rounds=1, parents=0.34),
    trial=TRAIN,
    calibration_images=64,
)
NOTHING = TensorData(torch.zeros(0, 1, 16, 16), torch.zeros(0, dtype=torch.int64))


@pytest.fixture(autouse=True)
def runs(tmp_path, monkeypatch):
    monkeypatch.setenv("REPRO_RUNS", str(tmp_path))


def space(**changes) -> TargetSpace:
    return TargetSpace(SPACE.spec(SUBNET), **changes)


def genome(**genes):
    asked = {
        "width 0": 2.2,
        "width 1": 2.8,
        "width 2": 2.4,
        "expand 1": 2.2,
        "expand 2": 3.2,
        "depth 1": 1,
        "depth 2": 2,
    }
    asked |= {"op 1": "adder", "op 2": "shift", "start": 10, "stop": 60} | genes
    return tuple(asked[name] for name in space().genes.names)


def test_a_target_by_hand():
    target = space().target(genome())
    assert (target.inside.stem, target.keep, target.window) == (5, (True, True, False, True, True, False), (0.1, 0.6))
    # channels 12 / 2.2, 16 / 2.8, 20 / 2.4; expansions 3 and 5 over 2.2; 5, 3 and 5 over 3.2
    assert [(b.in_channels, b.mid, b.out) for b in target.inside.blocks] == [
        (5, 5, 5), (5, 7, 6), (6, 14, 6), (6, 9, 8), (8, 8, 8), (8, 12, 8),
    ]  # fmt: skip
    assert [b.kernel for b in target.deployed.blocks] == [3, 3, 5, 3]
    model = create("mobilenet_v2", spec=target.deployed, op=target.op, num_classes=10)
    kinds = {name: type(module) for name, module in model.named_modules()}
    assert kinds["stem.conv"] is kinds["blocks.0.project.conv"] is kinds["blocks.1.expand.conv"] is AdderConv2d
    assert kinds["blocks.1.depthwise.conv"] is torch.nn.Conv2d  # adders leave depthwise layers alone, as in table 3
    assert kinds["blocks.2.depthwise.conv"] is ShiftConv2d and kinds["classifier"] is ShiftLinear


@pytest.mark.parametrize("op", ["shift", "adder", "conv"])
def test_one_operator_everywhere_is_the_networks_of_table_3(op):
    target = space().target(genome(**{"op 1": op, "op 2": op}))
    mixed, plain = (create("mobilenet_v2", spec=target.deployed, op=each, num_classes=10) for each in (target.op, op))
    kinds = [[type(module) for module in model.modules()] for model in (mixed, plain)]
    assert kinds[0] == kinds[1]
    assert MobileCosts(16).costs(target.deployed, target.op) == MobileCosts(16).costs(target.deployed, op)


def test_no_target_is_wider_or_deeper_than_its_subnet():
    draw, targets, supernet = random.Random(0), space(), ElasticNetwork(SPACE, in_channels=1)
    subnet = supernet.subnet(SUBNET)
    for _ in range(5):
        target = targets.target(tuple(draw.choice(options) for options in targets.genes.blocks))
        inside = inside_of(target, subnet)  # refuses what does not fit
        assert inside.export_target.__self__.parameter_counts()["training"] == sum(
            p.numel() for p in subnet.parameters()
        )
        assert 2.0 <= subnet.spec.stem / target.deployed.stem <= 3.3


def test_ablations_leave_their_genes_out():
    whole, flat, still = space(), space(depth=False), space(mutation=False)
    assert set(whole.genes.names) - set(still.genes.names) == {"start", "stop"}
    fixed = dict(zip(flat.genes.names, flat.genes.blocks))
    assert fixed["depth 1"] == (2,) and fixed["depth 2"] == (3,)
    plain = space(depth=False, mutation=False)
    recipe = plain.target(tuple(options[0] for options in plain.genes.blocks)).recipe
    assert recipe.mutation is None and recipe.depth is None
    assert whole.target(genome()).recipe.depth == whole.target(genome()).recipe.mutation


def ran(spec):
    return outcome_of(spec, *attempt(spec, False))


@pytest.fixture(scope="module")
def outcome(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("REPRO_RUNS", str(tmp_path_factory.mktemp("searched")))
        return ran(found.spec(RUN, 0))


def test_a_search_is_a_run_whose_target_keeps_the_limit_and_is_trained_anew(outcome):
    assert outcome.value["outcome"] == "done"
    subnet, target = found.networks(outcome)
    costs = found.costs_of(RUN.data)
    assert costs.costs(subnet)["macs"] <= 200_000
    assert costs.costs(target.deployed, target.op)["energy_mj"] <= 0.0015
    frames = found.frames({0: outcome})
    candidates, blocks = frames["candidates"], frames["blocks"]
    assert candidates.groupby("stage")["round"].max().to_dict() == {"SubNet": 1, "TargetNet": 1}
    best = candidates[(candidates["stage"] == "TargetNet") & (candidates["round"] == 1) & (candidates["place"] == 0)]
    assert best["genome"].item() == "-".join(map(str, outcome.value["target"]))
    wide, narrow = (blocks[blocks["network"] == name].reset_index(drop=True) for name in ("SubNet", "TargetNet"))
    assert (narrow["mid"] < wide["mid"]).all() and (narrow["out"] < wide["out"]).all()
    assert set(frames["seconds"]) == {"seed", "supernet", "subnet", "target"}
    run = lambda specs: {key: outcome if spec == found.spec(RUN, 0) else ran(spec) for key, spec in specs.items()}  # noqa: E731
    ours = f04.trained(FoundRecipe(RUN, RUN, TRAIN), [0], run)
    scores = ours.attrs["extra"]["scores"].set_index("first_convolutions")
    assert scores["accuracy_pct"].notna().all() and scores["energy_mj"]["adder"] < scores["energy_mj"]["conv"]
    assert len(ours.attrs["extra"]["examples"]) == 2
    search, pictured = f04.draw(ours)
    points = [len(dots.get_offsets()) for axes in search.figure.axes for dots in axes.collections]
    assert sum(points) == (candidates["origin"] != "parent").sum() + 2  # and a ring in each panel
    assert len(pictured.figure.axes[0].patches) == 4 * len(wide)


def test_the_first_three_convolutions_take_an_operator_of_their_own():
    target = space().target(genome())
    ours = searched.with_first_convolutions(target, "adder")
    spec = {"spec": ours.deployed, "in_channels": 1, "num_classes": 10}
    layers = dict(create("mobilenet_v2", op=ours.op, **spec).named_modules())
    before = dict(create("mobilenet_v2", op=target.op, **spec).named_modules())
    first = ["stem.conv", "blocks.0.project.conv", "blocks.1.expand.conv"]
    assert all(isinstance(layers[name], AdderConv2d) for name in first)
    assert all(type(layer) is type(before[name]) for name, layer in layers.items() if name not in first)


def test_a_search_that_is_stopped_between_its_stages_ends_as_if_it_had_not_been(outcome, tmp_path):
    seen = []

    class Killed(BaseException):
        pass

    class Context:
        checkpoint = tmp_path

        def log(self, **row):
            seen.append(row)

    def stop(*args, **options):
        raise Killed

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(found, "find_target", stop)
        with pytest.raises(Killed):
            found.search(RUN, 0, Context())
    again = found.search(RUN, 0, Context())
    assert len(seen) == 1  # the SuperNet was trained once
    assert again | {"seconds": 0} == outcome.value | {"seconds": 0}


@pytest.mark.parametrize("stage", ["SubNet", "TargetNet"])
def test_limits_that_no_network_meets_are_said(stage):
    class Mids:
        def costs(self, spec, op):
            return {"macs": sum(block.mid for block in spec.blocks), "energy_mj": 1.0, "latency_ms": 1.0}

    supernet, costs = ElasticNetwork(SPACE, in_channels=1), Mids()
    with pytest.raises(
        InputError, match=r"limit macs=2 is met by no genome of the space; the cheapest found has macs="
    ):
        if stage == "SubNet":
            find_subnet(supernet, NOTHING, NOTHING, costs, Budget({"macs": 2}, 4, 1), seed=0)
        else:
            subnet = supernet.subnet(SUBNET)
            find_target(space(), subnet, NOTHING, NOTHING, costs, Budget({"macs": 2}, 4, 1), TRAIN, seed=0)


def test_a_limit_of_an_unknown_cost_is_said():
    with pytest.raises(InputError, match=r"limit='mac' is not .*Did you mean 'macs'"):
        Budget({"mac": 2})


def test_trials_of_adders_go_by_scales_measured_on_the_subnet_as_adders():
    torch.manual_seed(0)
    subnet = ElasticNetwork(SPACE, in_channels=1).subnet(SUBNET)
    train = TensorData(torch.randn(64, 1, 16, 16), torch.arange(64) % 10)
    scales = adder_scales(space(), subnet, train, TRAIN, seed=0)
    assert scales == adder_scales(space(), subnet, train, TRAIN, seed=0)
    chosen = space().target(genome(**{"op 2": "adder"}))
    assert chosen.keep == (True, True, False, True, True, False)
    named = _deployed_names(scales, chosen)
    assert (
        named["stem.conv"] == scales["stem.conv"] and named["blocks.1.project.conv"] == scales["blocks.1.project.conv"]
    )
    assert named["blocks.3.expand.conv"] == scales["blocks.4.expand.conv"] and "blocks.4.expand.conv" not in named
    network = inside_of(chosen, subnet, "laplace", named)
    for name, layer in network.wide_layers():
        if layer.op == "adder" and not is_extra(name):
            assert layer.remap.scale == named[_target_name(name)] > 0.6  # adders begin with 0.8
    assert adder_scales(space(choices=AugmentationSpace(operators=("shift",))), subnet, train, TRAIN, seed=0) is None


def test_a_window_outside_training_is_said():
    choices = AugmentationSpace(mutation_start_pct=(10,), mutation_stop_pct=(130,))
    with pytest.raises(InputError, match=r"stop=1\.3 is not allowed"):
        space(choices=choices).target(genome(stop=130)).recipe  # noqa: B018
