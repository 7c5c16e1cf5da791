"""What a run is: values, seed and data, but no names, defaults or descriptions."""

import dataclasses
import json

import pytest

from repro.errors import InputError
from repro.runs import RunSpec, agrees, execute, find_status, load_result
from repro.runs.spec import to_plain

FUNCTION = "tests.runs.run_functions:seen_recipe"


def recipe_class(name="Recipe", **fields):
    """A frozen dataclass with these defaults, as another state of the code would have it."""
    listed = [(key, type(value), dataclasses.field(default=value)) for key, value in fields.items()]
    return dataclasses.make_dataclass(name, listed, frozen=True)


def spec_of(recipe, seed=0, **options):
    return RunSpec("fields", FUNCTION, recipe, seed, **options)


@pytest.fixture(autouse=True)
def runs_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("REPRO_RUNS", str(tmp_path / "runs"))


Train = recipe_class("Train", epochs=10, lr=0.1)
Recipe = recipe_class(train=Train(), width=1.0, ops=("adder",))


@pytest.mark.parametrize(
    "other",
    [
        spec_of(Recipe(width=0.5)),
        spec_of(Recipe(train=Train(lr=0.2))),
        spec_of(Recipe(ops=("adder", "shift"))),
        spec_of(Recipe(), seed=1),
        spec_of(Recipe(), data="abc"),
    ],
    ids=["value", "learning rate", "list", "seed", "data"],
)
def test_values_seed_and_data_are_part_of_it(other):
    assert other.identity != spec_of(Recipe()).identity


@pytest.mark.parametrize(
    "other",
    [
        recipe_class(ops=("adder",), width=1.0, train=Train()),
        recipe_class("Renamed", train=Train(), width=1.0, ops=("adder",)),
        recipe_class(train=Train(), width=1.0, ops=("adder",), momentum=0.9),
        recipe_class(train=recipe_class("Train", epochs=10, lr=0.1, flip=False)(), width=1.0, ops=("adder",)),
    ],
    ids=["order of fields", "class name", "new field", "new nested field"],
)
def test_names_and_fields_at_their_default_are_not(other):
    assert spec_of(other(width=2.0)).identity == spec_of(Recipe(width=2.0)).identity


def test_function_uses_and_parallel_are_not_part_of_the_identity():
    spec = spec_of(Recipe())
    other = dataclasses.replace(spec, function="a.b:c", uses=("repro.models.vgg",), parallel=True)
    assert other.identity == spec.identity and other.recipe_digest == spec.recipe_digest


def test_the_recipe_digest_joins_seeds_and_data():
    assert spec_of(Recipe(), seed=3, data="x").recipe_digest == spec_of(Recipe()).recipe_digest
    assert spec_of(Recipe(width=3.0)).recipe_digest != spec_of(Recipe()).recipe_digest


@dataclasses.dataclass(frozen=True)
class First:
    rounds: int = 1


@dataclasses.dataclass(frozen=True)
class Second:
    rounds: int = 1


@dataclasses.dataclass(frozen=True)
class Either:
    search: First | Second
    title: str = dataclasses.field(default="", compare=False)


def test_the_class_counts_where_a_field_allows_several():
    assert spec_of(Either(First(3))).identity != spec_of(Either(Second(3))).identity


def test_a_field_that_is_not_compared_is_a_description():
    assert spec_of(Either(First(), "short")).identity == spec_of(Either(First(), "long")).identity


def test_a_mapping_is_a_recipe_too():
    assert spec_of({"a": 1, "b": 2}).identity == spec_of({"b": 2, "a": 1}).identity != spec_of({"a": 1}).identity


@pytest.mark.parametrize("default, same", [({}, True), ({"lr": 0.2}, False), ({"epochs": 5, "flip": True}, False)])
def test_a_stored_recipe_agrees_if_common_fields_are_equal(default, same):
    stored = json.loads(json.dumps(to_plain(Recipe())))
    today = recipe_class(train=recipe_class(**{"epochs": 10, "lr": 0.1} | default)(), ops=("adder",))
    assert agrees(stored, today()) is same


def test_a_new_field_at_its_default_reuses_the_run():
    first = execute(spec_of(Recipe()))
    later = recipe_class(train=Train(), width=1.0, ops=("adder",), momentum=0.9)
    assert load_result(spec_of(later())) == first


def test_a_changed_default_does_not_pass_an_old_result_off_as_new(capsys):
    execute(spec_of(Recipe()))
    changed = spec_of(recipe_class(train=recipe_class("Train", epochs=10, lr=0.2)(), width=1.0, ops=("adder",))())
    assert changed.folder == spec_of(Recipe()).folder
    assert find_status(changed).state == "missing"
    assert execute(changed)["value"]["train"] == {"epochs": 10, "lr": 0.2}
    said = capsys.readouterr().err.strip().splitlines()
    assert len(said) == 1 and "superseded (a default of its recipe has changed since)" in said[0]
    assert load_result(changed)["value"]["train"]["lr"] == 0.2


def test_a_changed_default_does_not_resume_an_old_checkpoint():
    spec = spec_of(Recipe())
    execute(spec)
    (spec.folder / "result.json").unlink()
    (spec.folder / "checkpoint").mkdir()
    changed = spec_of(recipe_class(train=Train(), width=2.0, ops=("adder",))())
    assert execute(changed)["value"]["resumed"] is False


@pytest.mark.parametrize("kind", ["", "/a", "a/", "a//b", "../a", "a b", f"{'0' * 16}-{'0' * 12}"], ids=repr)
def test_a_kind_is_made_of_plain_names(kind):
    with pytest.raises(InputError, match="kind="):
        RunSpec(kind, FUNCTION, {}, 0)


def test_uses_is_a_tuple_of_names():
    with pytest.raises(InputError, match=r"uses='repro\.models\.vgg'"):
        spec_of({}, uses="repro.models.vgg")


@pytest.mark.parametrize("seed", [-1, 2**63, 1.0, True], ids=repr)
def test_a_seed_is_a_whole_number_of_63_bits(seed):
    assert spec_of({}, seed=2**63 - 1).seed == 2**63 - 1
    with pytest.raises(InputError, match=f"seed={seed!r} is not allowed; .* at least 0 and at most {2**63 - 1}"):
        spec_of({}, seed=seed)
