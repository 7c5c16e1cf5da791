"""The predicate language: every operator and function, empty cells, and refusals in one sentence."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import kendalltau

from repro.errors import InputError
from repro.report.predicate import Evaluator, NoValuesError, PredicateError, parse, references, subset_tables

TABLE = {
    "model": ["a", "b", "c", "d"],
    "ours": [1.0, 0.0, 1.0, 0.0],
    "acc": [70.0, 60.5, None, 80.25],
    "energy": [1.0, 2.0, 3.0, 4.0],
    "ops": ["x;y;z", "x", None, "x; y"],
}
OTHER = {"model": ["a", "d"], "acc": [70.0, 80.25], "energy": [1.0, 9.0]}


def value(source):
    return Evaluator({"t": TABLE, "u": OTHER}, "t").value(parse(source))


def truth(source):
    return Evaluator({"t": TABLE, "u": OTHER}, "t").truth(parse(source))


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("1 + 2 * 3 ** 2 / 2", 10.0),
        ("-2 ** 2", -4.0),
        ("2 ** 3 ** 2", 512.0),
        ("2 ** -1", 0.5),
        ("(1 + 2) * 3", 9.0),
        ("10 - 4 - 3", 3.0),
        ("1e3 + .5 + 2.", 1002.5),
        ("acc[model='a']", 70.0),
        ("acc[model='c']", None),
        ("acc", [70.0, 60.5, None, 80.25]),
        ("acc[ours=1]", [70.0, None]),
        ("acc[model!='a', model!='b', ours=0]", 80.25),
        ("energy[model~'^[ab]$']", [1.0, 2.0]),
        ("u.acc[model='d']", 80.25),
        ("acc - 10 * energy", [60.0, 40.5, None, 40.25]),
        ("energy[model='a'] / 0", None),
        ("acc > 65", [True, False, None, True]),
        ("60 < acc <= 70", [True, True, None, False]),
        ("min(acc)", 60.5),
        ("max(acc, energy, 99)", 99.0),
        ("mean(acc)", 70.25),
        ("sum(energy)", 10.0),
        ("count(acc)", 3.0),
        ("count(acc[model='nobody'])", 0.0),
        ("abs(acc - 70)", [0.0, 9.5, None, 10.25]),
        ("round(0.285, 2)", 0.29),
        ("round(2.5)", 3.0),
        ("round(-2.5)", -3.0),
        ("noptions(ops)", [3.0, 1.0, None, 2.0]),
        ("dominated(energy, acc, energy, acc)", [False, True, None, False]),
    ],
)
def test_values(source, expected):
    assert value(source) == expected


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("all(acc > 60)", True),
        ("all(acc > 61)", False),
        ("any(acc > 80)", True),
        ("not any(acc > 90)", True),
        ("increasing(energy) and not increasing(acc)", True),
        ("decreasing(acc[model~'^[ab]'])", True),
        ("increasing(acc[model='a'])", True),
        ("approx(0.1 + 0.2, 0.3, 0)", True),
        ("approx(1, 1.2, 0.1)", False),
        ("all(within(acc, 60.5, 80.25))", True),
        ("model[ours=1, energy=3] == 'c'", True),
        ("subset('u', 't', 'model,acc')", True),
        ("subset('u', 't', 'model,energy')", False),
        ("1 == 1 or acc[model='c'] > 0", True),
        ("tau(acc, energy) > 0.3 and tau(acc, energy) < 0.4", True),
        ("1 < 2 < 3 and not 3 < 2 < 1", True),
    ],
)
def test_truths(source, expected):
    assert truth(source) is expected


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("acc >", "is expected where the end stands"),
        ("1 2", "the end is expected where '2' stands"),
        ("acc[", "name is expected"),
        ("acc[]", "a selector is expected"),
        ("acc[model<'a']", "'=', '!=' or '~' is expected"),
        ("acc[model~'(']", "broken pattern"),
        ("median(acc) > 1", "unknown function 'median'"),
        ("__import__('os')", "unknown function '__import__'"),
        ("all(acc, 1)", "takes 1 to 1 arguments"),
        ("1 @ 2", "unknown sign"),
        ("acc.__class__ == 1", "needs the table acc"),
        ("accuracy > 1", "t has no column 'accuracy'"),
        ("v.acc > 1", "needs the table v"),
        ("acc > 1", "wrap it in all"),
        ("all(acc > 1) and acc > 1", "wrap columns in all"),
        ("all(acc)", "not a truth value"),
        ("1 + 1", "not a truth value"),
        ("all(acc == 'x')", "compares a text with a number"),
        ("all(model + 1 > 2)", "cannot be applied to the text"),
        ("all(acc > u.acc)", "columns of 2 and 4 rows"),
        ("acc[model=1] > 1", "cannot be compared"),
        ("subset('t', 'w', 'model')", "needs the table w"),
    ],
)
def test_refusals_are_one_sentence(source, message):
    with pytest.raises(PredicateError, match=message) as caught:
        truth(source)
    assert isinstance(caught.value, InputError)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "source",
    ["all(acc[model='c'] > 1)", "acc[model='c'] > 1", "mean(acc[model='x']) > 0", "acc[model='c'] > 1 and 1 == 1"],
)
def test_nothing_but_empty_cells_cannot_be_decided(source):
    with pytest.raises(NoValuesError):
        truth(source)


def test_deep_nesting_is_refused_not_crashed():
    with pytest.raises(PredicateError, match="nested too deeply"):
        parse("(" * 5000 + "1" + ")" * 5000)


def test_references_and_subset_tables_are_found():
    tree = parse("all(acc[ours=1] > u.acc) and not subset('u', 't', 'model') or -energy[model='a'] < acc[ours=1]")
    assert [str(ref) for ref in references(tree)] == ["acc[ours=1]", "u.acc", "energy[model=a]"]
    assert subset_tables(tree) == ["u", "t"]


numbers = st.one_of(st.none(), st.integers(-5, 5).map(float))


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.lists(st.tuples(numbers, numbers), min_size=2, max_size=8))
def test_tau_is_scipys_on_the_filled_pairs(pairs):
    a, b = ([pair[i] for pair in pairs] for i in (0, 1))
    filled = [(x, y) for x, y in pairs if x is not None and y is not None]
    expected = kendalltau(*zip(*filled)).statistic if len(filled) > 1 else math.nan
    evaluator = Evaluator({"t": {"a": a, "b": b}}, "t")
    if math.isnan(expected):
        with pytest.raises(NoValuesError):
            evaluator.value(parse("tau(a, b)"))
    else:
        assert evaluator.value(parse("tau(a, b)")) == pytest.approx(expected)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.text(alphabet="ab01.+-*/<>=!~()[],' andortc", max_size=25))
def test_any_text_is_a_tree_or_a_predicate_error(source):
    try:
        parse(source)
    except PredicateError:
        pass
