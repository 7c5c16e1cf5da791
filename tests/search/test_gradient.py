"""The search of cells: schedules, halves, what each phase changes, resume, refusals."""

from __future__ import annotations

import dataclasses
import functools
import json
import math

import numpy as np
import pytest
import torch

from repro.errors import InputError
from repro.models import create
from repro.search.cell_supernet import OPERATIONS
from repro.search.gradient import (
    CellSearch,
    CellSearchRecipe,
    _Search,
    _Step,
    halves,
    search_cells,
    search_rate,
    search_temperature,
)
from repro.train.data import TensorData

TINY = CellSearchRecipe(
    layers=3,
    channels=2,
    nodes=2,
    operation_epochs=(1, 1),
    topology_epochs=(1, 2),
    batch_size=16,
    lr=0.3,
    lr_min=0.03,
    architecture_lr=0.01,
    crop_padding=1,
)
PAPER = CellSearchRecipe()


def images(count: int = 32, seed: int = 0) -> TensorData:
    """Three classes that differ in their brightest quarter."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(count) % 3
    pictures = torch.rand(count, 1, 8, 8, generator=generator)
    for label in range(3):
        pictures[labels == label, :, 4 * (label // 2) :, 4 * (label % 2) :] += 2
    return TensorData(pictures, labels)


DATA, HELD_OUT = images(), images(16, seed=1)


def shaped(channels: int, side: int, count: int = 32) -> TensorData:
    """The labels of `images` with pictures of another shape."""
    pictures = torch.rand(count, channels, side, side, generator=torch.Generator().manual_seed(0))
    return TensorData(pictures, torch.arange(count) % 3)


def brighter(data: TensorData) -> TensorData:
    """The same stored images, other inputs."""
    return dataclasses.replace(data, normalize=lambda stored: stored + 1)


def run(recipe: CellSearchRecipe = TINY, **options) -> CellSearch:
    return search_cells(recipe, DATA, HELD_OUT, **{"seed": 0, **options})


def begun(recipe: CellSearchRecipe) -> _Step:
    """The first step of a search, nothing trained."""
    return at(recipe, "operations")


def at(recipe: CellSearchRecipe, name: str, seed: int = 0) -> _Step:
    """A step of a search, nothing trained; on every edge a skip and a convolution are kept."""
    search = _Search(recipe, DATA, HELD_OUT, seed=seed, num_classes=None, folder=None, device="cpu")
    search.result.kept = {kind: [("skip_connect", "sep_conv_3x3")] * 5 for kind in ("normal", "reduce")}
    return _Step(search, name)


def contents(images: torch.Tensor) -> set[bytes]:
    return {image.numpy().tobytes() for image in images}


@pytest.fixture(scope="module")
def found() -> CellSearch:
    return run()


# --- schedules -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("reset", "rates"),
    [
        ("whole", {0: 0.0100, 29: 0.0067, 30: 0.0100, 50: 0.0083, 69: 0.0047}),
        ("none", {0: 0.0100, 29: 0.0067, 30: 0.0065, 69: 0.0010}),
        ("own", {29: 0.0067, 30: 0.0100, 50: 0.0055, 69: 0.0010}),
    ],
)
def test_the_rate_begins_again_with_step_two(reset, rates):
    recipe = dataclasses.replace(PAPER, reset=reset)
    assert {epoch: round(search_rate(recipe, epoch), 4) for epoch in rates} == rates


def test_the_settings_are_the_papers():
    """Sec. 5.1 and appendix A as printed; Adam's betas as in DARTS, then DOTS."""
    printed = {
        **{"layers": 8, "channels": 16, "nodes": 4, "batch_size": 128, "lr": 0.01, "weight_decay": 3e-4},
        **{"architecture_lr": 3e-4, "architecture_decay": 1e-3, "temperatures": (10.0, 0.02), "shift_range": None},
        **{"strategy": "two steps", "space": "shift", "weight_bits": 5, "activation_bits": (16, 16)},
    }
    assert {name: getattr(PAPER, name) for name in printed} == printed
    assert {step: sum(epochs) for step, epochs in PAPER.steps.items()} == {"operations": 30, "topology": 40}
    for step, first in (("operations", 0.5), ("topology", 0.9)):
        (group,) = at(TINY, step).adam.param_groups
        assert (group["lr"], group["betas"], group["weight_decay"]) == (TINY.architecture_lr, (first, 0.999), 1e-3)


def test_darts_has_the_rates_of_step_one():
    darts = dataclasses.replace(PAPER, strategy="darts")
    assert darts.epochs == 30
    assert all(search_rate(darts, epoch) == search_rate(PAPER, epoch) for epoch in range(30))


def test_the_temperature_is_one_until_the_topology_is_searched():
    assert PAPER.epochs == 70
    assert [search_temperature(PAPER, epoch) for epoch in (0, 30, 49, 50, 69)] == [1, 1, 1, 10, 0.02]


# --- what a search does ----------------------------------------------------------------------------------------------


def test_halves_are_fixed_disjoint_and_in_proportion():
    data = TensorData(torch.arange(30.0).view(30, 1, 1, 1), torch.arange(30) % 3)
    first, second = halves(data)
    assert sorted([*first.images.flatten().tolist(), *second.images.flatten().tolist()]) == list(range(30))
    assert first.labels.bincount().tolist() == second.labels.bincount().tolist() == [5, 5, 5]


def test_halves_are_the_same_whatever_the_seed():
    one, other = (at(TINY, "operations", seed).search for seed in (0, 1))
    assert torch.equal(one.first.images, other.first.images) and torch.equal(one.second.images, other.second.images)
    weights = [at(TINY, "operations", seed).supernet.flat.shift for seed in (0, 1)]
    assert not torch.equal(*weights)


def test_each_phase_trains_its_parts_on_its_images_at_its_rate_and_temperature(monkeypatch):
    """Alphas before weights, on the other half; weights on the first half; in step two all at once, on all images."""
    seen, weights_step, architecture_step = [], _Step._step, _Step._architecture_step

    def note(step: _Step, part: str, batch) -> None:
        temperature = getattr(step.architecture, "temperature", None)
        rates = {group["lr"] for group in step.optimizer.param_groups}
        seen.append((len(step.search.result.rows), step.name, part, contents(batch.inputs), rates, temperature))

    def weights(step, batch, together):
        note(step, "all" if together else "weights", batch)
        return weights_step(step, batch, together)

    def architecture(step, batch):
        note(step, "architecture", batch)
        return architecture_step(step, batch)

    monkeypatch.setattr(_Step, "_step", weights)
    monkeypatch.setattr(_Step, "_architecture_step", architecture)
    recipe = dataclasses.replace(TINY, crop_padding=0, flip=False, batch_size=4)
    run(recipe)
    first, second = (contents(half.images) for half in halves(DATA))
    phases = [
        ("operations", ["weights"], {"weights": first}, None),
        ("operations", ["architecture", "weights"], {"weights": first, "architecture": second}, None),
        ("topology", ["weights"], {"weights": first}, 1.0),
        ("topology", ["all"], {"all": first | second}, 10.0),
        ("topology", ["all"], {"all": first | second}, 0.02),
    ]
    for epoch, (step, order, images, temperature) in enumerate(phases):
        mine = [entry for entry in seen if entry[0] == epoch]
        assert [part for _, _, part, *_ in mine] == order * (len(mine) // len(order))
        assert {entry[1] for entry in mine} == {step} and {entry[5] for entry in mine} == {temperature}
        for part, expected in images.items():
            assert set().union(*(entry[3] for entry in mine if entry[2] == part)) == expected
        assert all(entry[4] == {search_rate(recipe, epoch)} for entry in mine)


def test_the_topology_is_searched_in_one_level():
    """Weights, betas and balances follow the slopes of one loss, on one batch, and all of them step."""
    step = at(dataclasses.replace(TINY, l2="none"), "topology")
    step.architecture.temperature = 2.0
    batch = next(iter(step.search.batches(step.search.train, "any")))
    searched = dict(step.architecture.named_parameters())
    loss = torch.nn.functional.cross_entropy(step.supernet(batch.inputs), batch.labels)
    slopes = torch.autograd.grad(loss, [*searched.values(), step.supernet.flat.shift])
    before = {name: value.detach().clone() for name, value in step.supernet.named_parameters()}
    step._step(batch, together=True)
    for parameter, slope in zip((*searched.values(), step.supernet.flat.shift), slopes):
        torch.testing.assert_close(parameter.grad, slope, rtol=1e-4, atol=1e-7)
    for name, (parameter, slope) in zip(searched, zip(searched.values(), slopes)):
        clear = slope.abs() > 1e-5
        assert clear.any(), name
        torch.testing.assert_close(parameter[clear], -TINY.architecture_lr * slope[clear].sign(), rtol=0.02, atol=0)
    assert not torch.equal(step.supernet.flat.shift, before["flat.shift"])


def test_step_two_begins_with_new_weights_and_what_the_recipe_says_of_edges():
    one, two = (at(dataclasses.replace(TINY, normalize=True, balance_scale=0.25), name) for name in TINY.steps)
    stem = one.supernet.flat.sizes[0]
    assert not torch.equal(one.supernet.flat.shift[:stem], two.supernet.flat.shift[:stem])
    assert (two.architecture.normalize, two.architecture.balance_scale) == (True, 0.25)
    assert two.architecture.edge_weights("normal")[:2].tolist() == [0.5, 0.5]  # 1 / N(c)


def test_a_search_has_a_row_an_epoch_and_cells_that_the_network_takes(found):
    assert found.outcome == "finished" and [row["epoch"] for row in found.rows] == [1, 2, 3, 4, 5]
    assert [(row["step"][0], row["phase"][0]) for row in found.rows] == [*zip("oottt", "wswss")]
    assert all(math.isfinite(row["train_loss"]) and 0 <= row["held_out_accuracy_pct"] <= 100 for row in found.rows)
    assert found.held_out_accuracy_pct == found.rows[-1]["held_out_accuracy_pct"]
    scores = create("cells", genotype=found.genotype, layers=3, channels=2, op="shift")(torch.rand(2, 3, 8, 8))
    assert scores.shape == (2, 10)


def test_weight_only_phases_leave_the_architecture_alone_and_search_moves_all_of_it(found):
    before, after, fresh, *searched = (row["architecture"] for row in found.rows)
    assert set(torch.tensor(before["normal"]).flatten().tolist()) == {0}
    assert all((torch.tensor(after[kind]) != 0).all() for kind in ("normal", "reduce"))
    assert all(not torch.tensor(value).any() for value in fresh.values())
    assert all(torch.tensor(value).any() for value in searched[0].values())
    assert searched[0] != searched[1]


def test_cells_can_be_cut_after_any_epoch(found):
    assert found.genotype_at(5) == found.genotype
    assert found.architecture_at(2).kept() == found.kept
    assert found.architecture_at(4).temperature == 10 and found.architecture_at(5).temperature == 0.02
    cut = found.genotype_at(2)  # DARTS's, of step one
    assert len(cut.normal) == 4 and {operation for operation, _ in cut.normal} <= set(OPERATIONS[1:])


def test_a_search_survives_json(found):
    again = CellSearch.from_plain(TINY, json.loads(json.dumps(found.as_plain())))
    assert (again.genotype, again.kept, again.rows) == (found.genotype, found.kept, found.rows)
    assert again.genotype_at(3) == found.genotype_at(3)


def test_alphas_step_on_the_second_half_and_weights_on_the_first():
    step = begun(dataclasses.replace(TINY, crop_padding=0, flip=False))
    flat = step.supernet.flat
    batch = next(step.search.endless("operations", 1))
    stored = {image.numpy().tobytes() for image in step.search.second.images}
    assert all(image.numpy().tobytes() in stored for image in batch.inputs)
    weights = flat.shift.detach().clone()
    loss = torch.nn.functional.cross_entropy(step.supernet(batch.inputs), batch.labels)
    slopes = torch.autograd.grad(loss, list(step.architecture.parameters()))
    step._architecture_step(batch)
    for alpha, slope in zip(step.architecture.parameters(), slopes):  # Adam's first step is the rate, against the slope
        clear = slope.abs() > 1e-6
        torch.testing.assert_close(alpha[clear], -TINY.architecture_lr * slope[clear].sign(), rtol=0.02, atol=0)
    assert torch.equal(flat.shift, weights)
    alphas = [alpha.detach().clone() for alpha in step.architecture.parameters()]
    step._step(batch, together=False)
    assert not torch.equal(flat.shift, weights)
    assert all(map(torch.equal, alphas, step.architecture.parameters()))


def test_exponents_keep_to_a_narrower_range_at_any_rate():
    step = begun(dataclasses.replace(TINY, shift_range=(-4, -1)))
    for group in step.optimizer.param_groups:
        group["lr"] = 5.0
    for turn in range(8):  # RAdam's first five steps are small
        for batch in step.search.batches(step.search.first, turn):
            step._step(batch, together=False)
    shift = step.supernet.flat.shift
    assert shift.min() == -4 and shift.max() == -1
    assert step.supernet.flat.sign.abs().max() > 1  # S is never clamped


def test_darts_in_the_same_space_and_real_weights():
    recipe = dataclasses.replace(TINY, strategy="darts", space="real", operation_epochs=(0, 1))
    result = run(recipe)
    assert [row["step"] for row in result.rows] == ["operations"] and result.kept is None
    assert result.genotype == result.genotype_at(1) and len(result.genotype.reduce) == 4


def test_darts_searches_the_shift_space_with_one_softmax():
    two_steps, darts = begun(TINY), begun(dataclasses.replace(TINY, strategy="darts"))
    assert darts.supernet.flat.space == "shift" and darts.supernet.flat.shapes == two_steps.supernet.flat.shapes
    for step, total in ((two_steps, 2), (darts, 1)):  # a softmax in each of two groups, or one over all eight
        mixed = step.architecture.coefficients("normal")
        assert mixed.shape == (5, 8) and mixed.sum(1).tolist() == pytest.approx([total] * 5)


def test_the_l2_term_joins_the_loss_with_half_the_decay():
    slopes = {}
    for l2 in ("code", "none"):
        step = begun(dataclasses.replace(TINY, l2=l2, weight_decay=0.5))
        shift = step.supernet.flat.shift.detach().double()
        step._step(next(iter(step.search.batches(step.search.first, "any"))), together=False)
        slopes[l2] = step.supernet.flat.shift.grad
    expected = 0.5 / 2 * 2 * math.log(2) * 4.0**shift  # of (decay / 2) (2^P)^2
    torch.testing.assert_close((slopes["code"] - slopes["none"]).double(), expected, rtol=1e-4, atol=1e-6)


def test_the_forms_of_the_l2_term_pull_exponents_where_they_say():
    rows = {}
    for l2 in ("code", "paper", "conventional", "none"):
        step = begun(dataclasses.replace(TINY, l2=l2, weight_decay=0.1))
        for batch in step.search.batches(step.search.first, "any"):
            step._step(batch, together=False)
        rows[l2] = step.supernet.flat.shift.mean().item()
    assert len(set(rows.values())) == 4
    assert rows["code"] < rows["none"] < rows["conventional"]  # squares of P draw P up, squares of 2^P down


# --- resume ----------------------------------------------------------------------------------------------------------


def same(rows: list[dict], others: list[dict]) -> bool:
    return [{**row, "seconds": 0} for row in rows] == [{**row, "seconds": 0} for row in others]


def test_a_search_goes_on_bit_for_bit_after_any_epoch_and_trains_none_twice(found, tmp_path):
    trained = []
    options = {"folder": tmp_path, "on_epoch": lambda row: trained.append(row["epoch"])}
    for stop in range(1, 5):
        part = run(**options, stop_after=stop)
        assert (part.outcome, len(part.rows), part.genotype) == ("stopped", stop, None)
        assert trained == [*range(1, stop + 1)]
    result = run(**options)
    assert trained == [1, 2, 3, 4, 5] and same(result.rows, found.rows) and result.genotype == found.genotype
    other = dataclasses.replace(TINY, lr=0.2)
    with pytest.raises(InputError, match=r"operations.pt was written with another recipe; give a new place"):
        run(other, folder=tmp_path)
    with pytest.raises(InputError, match="another seed"):
        run(folder=tmp_path, seed=1)
    for data, held_out in (
        (images(seed=2), HELD_OUT),
        (DATA, images(16, seed=2)),
        (brighter(DATA), brighter(HELD_OUT)),
    ):
        with pytest.raises(InputError, match=r"operations.pt was written with another set of images; give a new place"):
            search_cells(TINY, data, held_out, seed=0, folder=tmp_path)


def test_a_damaged_checkpoint_is_set_aside_and_its_step_begins_again(tmp_path, capsys):
    recipe = dataclasses.replace(TINY, strategy="darts", operation_epochs=(1, 1))
    run(recipe, folder=tmp_path, stop_after=1)
    path = tmp_path / "operations.pt"
    path.write_bytes(path.read_bytes()[:-100])
    again = run(recipe, folder=tmp_path, stop_after=1)
    assert "operations begins again" in capsys.readouterr().err
    assert len(again.rows) == 1 and path.exists()


def test_divergence_is_an_outcome():
    result = run(dataclasses.replace(TINY, strategy="darts", space="real", lr=1e30))
    assert result.outcome == "diverged" and "operations" in result.detail and result.genotype is None


# --- refusals --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"strategy": "dart"}, "strategy='dart' is not known.*Did you mean 'darts'"),
        ({"temperatures": (0, 1)}, r"temperatures\[0\]=0 is not allowed"),
        ({"temperatures": 10}, "temperatures=10 is not allowed; it must be a pair"),
        ({"temperatures": (10, 1e-46)}, r"temperatures=\(10.0, 1e-46\) is not allowed; in float32 the smaller is no"),
        ({"shift_range": (-15, 0)}, "5 bits with a ternary sign hold P from -14 to 0"),
        ({"operation_epochs": (3, 0)}, r"operation_epochs\[1\]=0 is not allowed"),
        ({"l2": "l1"}, "l2='l1' is not known"),
        ({"lr_min": 1.0}, "lr_min=1.0 is not allowed"),
        ({"nodes": 0}, "nodes=0 is not allowed"),
    ],
)
def test_recipes_that_cannot_be_run_are_refused(change, sentence):
    with pytest.raises(InputError, match=sentence):
        CellSearchRecipe(**change)


def test_numbers_of_numpy_are_the_same_recipe_and_go_into_a_checkpoint(tmp_path):
    as_numpy = dataclasses.replace(TINY, layers=np.int64(TINY.layers), lr=np.float32(0.5))
    assert type(as_numpy.layers) is int and type(as_numpy.lr) is float
    small = dataclasses.replace(TINY, strategy="darts", operation_epochs=(np.int64(0), np.int64(1)))
    assert search_cells(small, DATA, HELD_OUT, seed=np.int64(0), folder=tmp_path).genotype is not None


def test_pairs_in_a_list_are_the_same_recipe():
    assert dataclasses.replace(TINY, operation_epochs=[1, 2], temperatures=[10.0, 0.02]) == dataclasses.replace(
        TINY, operation_epochs=(1, 2), temperatures=(10.0, 0.02)
    )


@pytest.mark.parametrize(
    ("train", "held_out", "options", "sentence"),
    [
        (DATA.take(slice(0, 1)), HELD_OUT, {}, "train_data holds 1 examples; a search needs at least one for each"),
        (DATA, HELD_OUT.take(slice(0, 0)), {}, "held_out holds no examples"),
        (DATA, HELD_OUT, {"num_classes": 2}, "num_classes=2 is not allowed; labels go up to 2"),
        (DATA, HELD_OUT, {"stop_after": 0}, "stop_after=0 is not allowed"),
        (DATA.images, HELD_OUT, {}, "train_data is a Tensor; it must be a data set of `repro.datasets` or TensorData"),
        (DATA, HELD_OUT.images, {}, "held_out is a Tensor; it must be"),
        (TensorData(DATA.images.byte(), DATA.labels), HELD_OUT, {}, "train_data has inputs of torch.uint8"),
        (
            TensorData(DATA.images.double(), DATA.labels),
            HELD_OUT,
            {},
            "train_data has inputs of torch.float64.*float32",
        ),
        (DATA, TensorData(HELD_OUT.images.half(), HELD_OUT.labels), {}, "held_out has inputs of torch.float16"),
        (DATA, HELD_OUT, {"device": "gpu"}, "device='gpu' is not allowed here .*; 'cpu' always is"),
        (DATA, HELD_OUT, {"on_epoch": 3}, "on_epoch=3 is not allowed; it must be a function of an epoch's row"),
        (shaped(0, 8), shaped(0, 8), {}, r"train_data has images of shape \(0, 8, 8\); channels and sides must be 1"),
        (shaped(1, 0), shaped(1, 0), {}, r"train_data has images of shape \(1, 0, 0\)"),
        (DATA, HELD_OUT, {"folder": 3}, "folder=3 is not allowed; it must be a path"),
        (DATA, HELD_OUT, {"folder": ""}, "folder='' is not allowed; name a folder, or None"),
        (DATA, shaped(3, 8), {}, r"held_out has images of shape \(3, 8, 8\), train_data of \(1, 8, 8\)"),
        (DATA, shaped(1, 6), {}, r"held_out has images of shape \(1, 6, 6\), train_data of \(1, 8, 8\)"),
    ],
)
def test_data_that_cannot_be_searched_on_is_refused(train, held_out, options, sentence):
    with pytest.raises(InputError, match=sentence):
        search_cells(TINY, train, held_out, **{"seed": 0, **options})


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"batch_size": 1}, "batch_size=1 leaves a batch of one example"),
        ({"batch_size": 15}, None),
        ({"batch_size": 2}, None),
        ({"eval_batch_size": 1}, "eval_batch_size=1 leaves a batch of one example"),
        ({"eval_batch_size": 15}, "eval_batch_size=15 leaves a batch of one example"),
    ],
)
def test_one_example_of_which_a_pixel_is_left_cannot_train_batch_norm(change, sentence):
    recipe = dataclasses.replace(TINY, crop_padding=0, **change)
    searched = functools.partial(search_cells, recipe, shaped(1, 4), shaped(1, 4), seed=0)
    if sentence is None:
        assert searched(stop_after=1).outcome == "stopped"
        return
    with pytest.raises(InputError, match=sentence):
        searched()
    larger = search_cells(recipe, shaped(1, 5), shaped(1, 5), seed=0, stop_after=1)
    assert larger.outcome == "stopped"  # four pixels are left


def test_two_images_a_batch_leave_one_of_an_odd_number():
    recipe, data = dataclasses.replace(TINY, batch_size=2, crop_padding=0), shaped(1, 4, count=31)
    with pytest.raises(InputError, match="batch_size=2 leaves a batch of one example"):
        search_cells(recipe, data, shaped(1, 4), seed=0)


def test_the_name_of_a_preset_is_no_recipe():
    with pytest.raises(InputError, match="recipe='quick' is not allowed; it must be a CellSearchRecipe"):
        search_cells("quick", DATA, HELD_OUT, seed=0)
