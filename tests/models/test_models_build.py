"""The builder and the registry: which operator a layer gets, names, errors, weight files."""

import json

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from repro.cost import model_cost
from repro.errors import InputError
from repro.layers import AdderConv2d, AdderLinear, ShiftAddConv2d, ShiftConv2d, ShiftLinear
from repro.models import (
    OPERATORS,
    Builder,
    create,
    describe,
    list_models,
    load_model,
    load_weights,
    save_weights,
    summary,
)
from repro.models.build import ROLES, round_channels
from tests.models.counting import build_on_meta

SMALL_CELLS = {"layers": 3, "channels": 4}


def layer_roles(model: nn.Module) -> dict[str, set[str]]:
    """Operators (class families) that occur per role."""
    found: dict[str, set[str]] = {}
    for module in model.modules():
        if hasattr(module, "layer_name"):
            found.setdefault(module.cost_role, set()).add(type(module).__name__)
    return found


@pytest.mark.parametrize("name", list_models())
def test_layer_names_are_module_paths_and_roles_are_known(name):
    options = {"auxiliary": True, **SMALL_CELLS} if name == "cells" else {}
    model = build_on_meta(create, name, **options)
    tagged = {path: module for path, module in model.named_modules() if hasattr(module, "layer_name")}
    assert tagged and all(module.layer_name == path for path, module in tagged.items())
    assert {module.cost_role for module in tagged.values()} <= set(ROLES)
    weighted = [m for m in model.modules() if isinstance(m, nn.Conv2d | nn.Linear | AdderConv2d | ShiftConv2d)]
    assert all(hasattr(module, "cost_role") for module in weighted)


@pytest.mark.parametrize("name", [name for name in list_models() if name != "translation"])
def test_norms_follow_the_layers_that_say_so(name):
    searched = {"stages": ("C", "AC", "CA", "A")} if name.startswith(("shiftaddnas", "bossnas")) else {}
    model = build_on_meta(create, name, **({**searched, **SMALL_CELLS} if name == "cells" else searched))
    flagged = {path for path, module in model.named_modules() if getattr(module, "cost_norm", False)}
    taken = norm_inputs(model)
    assert flagged == taken


def norm_inputs(model: nn.Module) -> set[str]:
    """Paths of layers whose output, or its concatenation with another's, a batch normalisation reads."""
    makers: dict[int, str] = {}
    taken: set[str] = set()
    alive = []

    def made(path):
        def hook(module, args, output):
            alive.append(output)
            makers[id(output)] = path

        return hook

    def read(module, args):
        if id(args[0]) in makers:
            taken.add(makers[id(args[0])])

    reduces = []
    for path, module in model.named_modules():
        if hasattr(module, "layer_name"):
            module.register_forward_hook(made(path))
        elif isinstance(module, nn.BatchNorm2d):
            module.register_forward_pre_hook(read)
        elif type(module).__name__ == "FactorizedReduce":
            reduces += [f"{path}.even", f"{path}.odd"]
    model.eval()(torch.empty(1, 3, 64, 64, device="meta"))
    return taken | set(reduces)


@pytest.mark.parametrize("op, conv, linear", [("adder", AdderConv2d, AdderLinear), ("shift", ShiftConv2d, ShiftLinear)])
def test_one_name_replaces_all_but_the_kept_roles(op, conv, linear):
    kept = build_on_meta(create, "resnet20", op=op)
    assert type(kept.stem.conv) is nn.Conv2d and type(kept.classifier) is nn.Linear
    assert all(type(m) is conv for m in kept.stages.modules() if hasattr(m, "layer_name"))
    bare = build_on_meta(create, "resnet20", op=op, keep=())
    assert type(bare.stem.conv) is conv and type(bare.classifier) is linear


def test_published_conventions_of_the_tiny_models():
    adder = layer_roles(build_on_meta(create, "mobilenet_v3_large", op="adder"))
    assert {role for role, kinds in adder.items() if "AdderConv2d" not in kinds} == {"depthwise", "classifier"}
    shift = layer_roles(build_on_meta(create, "mobilenet_v3_large", op="shift"))
    assert all(kinds <= {"ShiftConv2d", "ShiftLinear"} for kinds in shift.values())


def test_acghostnet_types_decide_primary_and_cheap_of_both_modules():
    names = ["AAg1", "AAg2", "ACg1", "ACg2", "CAg1", "CAg2", "CCg1", "CCg2"] * 2
    model = build_on_meta(create, "acghostnet", choices=names)
    by_index = build_on_meta(create, "acghostnet", choices=list(range(8)) * 2)
    for block, other, name in zip(model.blocks, by_index.blocks, names):
        for ghost in (block.ghost1, block.ghost2):
            assert isinstance(ghost.primary.conv, AdderConv2d) == (name[0] == "A")
            assert isinstance(ghost.cheap.conv, AdderConv2d) == (name[1] == "A")
            assert ghost.cheap.conv.groups == ghost.cheap.conv.in_channels // int(name[3])
        assert str(block) == str(other)
        others = [module for module in (block.se, block.shortcut, block.down) if module is not None]
        assert not any(isinstance(m, AdderConv2d) for module in others for m in module.modules())


def test_a_mapping_goes_by_role_name_pattern_and_order():
    op = {"stages.1.*": "shift", "conv": "adder", "classifier": "shift"}
    model = build_on_meta(create, "resnet20", op=op)
    assert type(model.stages[1][0].conv1.conv) is ShiftConv2d
    assert type(model.stages[0][0].conv1.conv) is AdderConv2d
    assert type(model.classifier) is ShiftLinear and type(model.stem.conv) is nn.Conv2d


def test_a_function_sees_name_and_role():
    seen = {}

    def choose(name, role):
        seen[name] = role
        return "shiftadd" if name == "stages.2.2.conv2.conv" else "conv"

    model = build_on_meta(create, "resnet20", op=choose)
    assert type(model.stages[2][2].conv2.conv) is ShiftAddConv2d
    assert seen["stem.conv"] == "stem" and seen["classifier"] == "classifier"


def test_operator_options_reach_the_layers():
    options = {"shift": {"weight_bits": 4, "mode": "ps"}}
    model = build_on_meta(create, "resnet20", op="shift", op_options=options)
    assert model.stages[0][0].conv1.conv.weight_bits == 4
    assert model.stages[0][0].conv1.conv.mode == "ps"


@pytest.mark.parametrize(
    "call, words",
    [
        (lambda: create("ghostnte"), ["ghostnte", "Did you mean 'ghostnet'"]),
        (lambda: create("ghostnet", widht=1), ["widht", "Did you mean 'width'"]),
        (lambda: create("resnet20", genotype="x"), ["resnet20", "genotype"]),
        (lambda: create("ghostnet", op="addre"), ["addre", "Did you mean 'adder'"]),
        (lambda: create("ghostnet", op={"stem": "convolution"}), ["op['stem']", "conv"]),
        (lambda: create("ghostnet", op={"blocks.99.*": "adder"}), ["blocks.99.*", "neither a role nor"]),
        (lambda: create("ghostnet", op={"stem": "conv"}, keep=("stem",)), ["keep"]),
        (lambda: create("ghostnet", op="adder", keep="depthwse"), ["depthwse", "Did you mean 'depthwise'"]),
        (lambda: create("ghostnet", op=3), ["op=3"]),
        (lambda: create("ghostnet", num_classes=0), ["num_classes=0", "at least 1"]),
        (lambda: create("ghostnet", width=-1), ["width=-1", "above 0"]),
        (lambda: create("ghostnet", form="cifra"), ["cifra", "Did you mean 'cifar'"]),
        (lambda: create("ghostnet", blocks=(1, 2)), ["blocks=(1, 2)", "6"]),
        (lambda: create("acghostnet", choices=["AAg1"] * 15), ["15", "16"]),
        (lambda: create("acghostnet", choices="ABg1"), ["ABg1", "Did you mean"]),
        (lambda: create("acghostnet", choices=8), ["choice=8", "0 to 7"]),
        (lambda: create("resnet20", in_channels=0), ["in_channels", "0"]),
        (lambda: create("cells", genotype="darts_v3"), ["darts_v3", "Did you mean"]),
        (lambda: create("fbnet", choices="k3_e2"), ["k3_e2", "Did you mean"]),
        (lambda: create("fbnet", choices=["skip"]), ["1 entries", "22"]),
        (lambda: create("mobilenet_v2_seg", output_stride=4), ["output_stride=4", "8, 16 or 32"]),
        (lambda: create("shiftaddnas_t0", stages=("C", "X", "C", "C")), ["'X'", "allowed"]),
        (lambda: create("shiftaddnas_t0", stages=("C",)), ["stages", "strides"]),
        (lambda: create("translation", config={"encoder_ffn": (8,)}), ["config", "missing"]),
        (lambda: create("translation", config="hat"), ["hat", "allowed"]),
    ],
)
def test_wrong_options_get_one_clear_sentence(call, words):
    with pytest.raises(InputError) as caught, torch.device("meta"):
        call()
    message = str(caught.value)
    assert all(word in message for word in words), message
    assert "\n" not in message and message.rstrip()[-1] in ".?"


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    st.integers(1, 40),
    st.integers(1, 40),
    st.integers(1, 12),
    st.sampled_from(OPERATORS),
)
def test_a_layer_is_made_or_refused_by_its_groups(in_channels, out_channels, groups, op):
    build = Builder(op).at("block")
    fits = in_channels % groups == 0 and out_channels % groups == 0
    with torch.device("meta"):
        if fits:
            layer = build.conv("conv", "conv", in_channels, out_channels, 3, groups=groups)
            assert layer.layer_name == "block.conv"
        else:
            with pytest.raises(InputError, match=f"groups={groups} of layer block.conv"):
                build.conv("conv", "conv", in_channels, out_channels, 3, groups=groups)


@settings(max_examples=100, deadline=None, derandomize=True)
@given(st.floats(0.5, 3000), st.sampled_from([2, 4, 8]))
def test_rounded_channels_are_multiples_that_lose_at_most_a_tenth(channels, divisor):
    rounded = round_channels(channels, divisor)
    assert rounded % divisor == 0 and rounded >= divisor
    assert 0.9 * channels <= rounded <= max(divisor, channels + divisor)


def test_describe_lists_every_option_with_its_default():
    table = describe("ghostnet").set_index("option")["default"]
    assert table["width"] == 1.0 and table["keep (op='adder')"] == ("stem", "head", "classifier")


def test_weights_round_trip_through_a_file(tmp_path):
    torch.manual_seed(0)
    model = create("resnet20", width=0.25, op="shift")
    path = save_weights(model, tmp_path / "weights.safetensors")
    twin = create("resnet20", width=0.25, op="shift")
    recipe = load_weights(twin, path)
    assert recipe["name"] == "resnet20" and recipe["width"] == 0.25 and json.dumps(recipe)
    for (name, ours), (other, theirs) in zip(model.state_dict().items(), twin.state_dict().items()):
        assert name == other and torch.equal(ours, theirs)


def test_a_file_of_weights_builds_its_network_and_shows_its_card(tmp_path):
    model = create("resnet20", width=0.25, op={"classifier": "conv", "*": "adder"}).eval()
    path = save_weights(model, tmp_path / "weights.safetensors", card={"seed": 3})
    again = load_model(path)
    assert all(torch.equal(value, model.state_dict()[name]) for name, value in again.state_dict().items())
    assert str(again) == str(model) and again.card == {"seed": 3} and not again.training
    assert load_weights(model, path) == json.loads(json.dumps(again.recipe))
    path.write_bytes(path.read_bytes().replace(b'{\\"seed\\": 3}', b'{\\"seed\\": 4}'))
    with pytest.raises(InputError, match="does not have the digest"):
        load_model(path)
    model.recipe["op"] = str(print)  # as json writes an operator that is a function
    with pytest.raises(InputError, match=r"cannot be built from its recipe .*use load_weights"):
        load_model(save_weights(model, path))


def test_a_backbone_loads_under_another_head(tmp_path):
    options = {"width": 0.1}
    classifier = create("mobilenet_v2", **options)
    path = save_weights(classifier, tmp_path / "backbone.safetensors")
    segmenter = create("mobilenet_v2_seg", **options)
    load_weights(segmenter, path, prefix=("stem.", "blocks."))
    assert torch.equal(segmenter.blocks[3].project.conv.weight, classifier.blocks[3].project.conv.weight)


@pytest.mark.parametrize(
    "change, words",
    [
        ({"width": 0.5}, ["shape", "the model needs"]),
        ({"shortcut": "projection"}, ["lacks", "shortcut"]),
        ({"op": "conv", "keep": None}, None),
    ],
    ids=["shape", "names", "same"],
)
def test_weights_of_another_network_change_nothing(tmp_path, change, words):
    path = save_weights(create("resnet20", width=0.25), tmp_path / "weights.safetensors")
    other = create("resnet20", **{"width": 0.25, **change})
    before = {name: value.clone() for name, value in other.state_dict().items()}
    if words is None:
        load_weights(other, path)
        return
    with pytest.raises(InputError) as caught:
        load_weights(other, path)
    assert all(word in str(caught.value) for word in words)
    assert all(torch.equal(value, before[name]) for name, value in other.state_dict().items())


def test_damaged_and_weightless_files_are_refused(tmp_path):
    broken = tmp_path / "broken.safetensors"
    broken.write_bytes(b"\x00" * 40)
    model = create("resnet20", width=0.25)
    with pytest.raises(InputError, match="cannot be read"):
        load_weights(model, broken)
    with pytest.raises(InputError, match="meta device"):
        save_weights(build_on_meta(create, "resnet20"), tmp_path / "empty.safetensors")


def test_summary_says_when_the_input_does_not_fit():
    model = build_on_meta(create, "resnet20")
    with pytest.raises(InputError, match="takes 3 channels"):
        summary(model, (1, 32, 32))
    with pytest.raises(InputError, match="input_size"):
        summary(model, (32, 32))
    assert model.training and "forward" not in vars(model.classifier)


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"op_options": 5}, "op_options=5"),
        ({"op": "shift", "op_options": {"shift": 3}}, "op_options="),
        ({"keep": 7}, "keep=7"),
    ],
)
def test_options_of_operators_of_a_wrong_kind_are_one_sentence(options, named):
    with pytest.raises(InputError, match=f"^{named}.* is not allowed; it must be"):
        create("resnet20", **options)


def test_weights_want_a_network_a_file_and_a_plain_card(tmp_path):
    with pytest.raises(InputError, match="model is a NoneType"):
        save_weights(None, tmp_path / "x.safetensors")
    with pytest.raises(InputError, match=r"card is not allowed .*plain JSON"):
        save_weights(nn.Linear(1, 1), tmp_path / "x.safetensors", card={"made": object()})
    with pytest.raises(InputError, match="path=5 is not allowed; name a file"):
        load_model(5)
    assert not list(tmp_path.iterdir())


def test_what_is_no_network_has_no_cost():
    with pytest.raises(InputError, match=r"model is a NoneType; it must be a torch\.nn\.Module"):
        model_cost(None, (3, 32, 32))
