"""The guides' code runs, and their links lead somewhere."""

import ast
import importlib
import posixpath
import re

import pandas as pd
import pytest

from repro.papers import list_ids
from repro.paths import repo_root
from repro.site import listings
from repro.site.texts import guides


def text_of(path):
    return (repo_root() / path).read_text(encoding="utf-8")


@pytest.mark.parametrize("path", guides())
def test_a_guides_code_runs(path):
    names = {}
    for code in re.findall(r"```python\n(.*?)```", text_of(path), re.S):
        exec(code, names)


@pytest.mark.parametrize("path", guides())
def test_what_a_guide_imports_stands_in_the_reference(path):
    """What a package names in `__all__`; of a module, what it defines itself; or the module as a whole."""
    code = "\n".join(re.findall(r"```python\n(.*?)```", text_of(path), re.S))
    assert not re.search(r"^\s*import repro", code, re.M)
    for found in ast.walk(ast.parse(code)):
        if isinstance(found, ast.ImportFrom) and found.module.partition(".")[0] == "repro":
            for name in (alias.name for alias in found.names):
                shown = (
                    f"{found.module}.{name}" in listings.MODULES
                    or (found.module in listings.PUBLIC and name in importlib.import_module(found.module).__all__)
                    or (found.module in listings.MODULES and own(found.module, name))
                )
                assert shown, f"{found.module}.{name}"


def own(module, name):
    return getattr(importlib.import_module(module), name).__module__ == module and not name.startswith("_")


@pytest.mark.parametrize("path", guides())
def test_a_guides_links_lead_to_headings(path):
    for target, anchor in re.findall(r"\]\(([^)#:]+)#?([^)]*)\)", text_of(path)):
        other = text_of(posixpath.normpath(posixpath.join(posixpath.dirname(path), target)))
        headings = re.findall(r"^#+ (.*)$", other, re.M)
        assert not anchor or anchor in {re.sub(r"[^\w -]", "", head.lower()).replace(" ", "-") for head in headings}


@pytest.mark.parametrize("path", guides())
def test_the_tables_that_a_guide_names_can_be_regenerated(path):
    named = set(re.findall(r"\b[a-z]+_(?:supp_)?[tf]\d\d\b", text_of(path)))
    assert named <= set(list_ids()), named - set(list_ids())


def test_the_accuracies_by_sum_of_rates_are_those_of_the_record():
    rates = pd.read_csv(repo_root() / "data/results/autoshiftnet_t03/study-digits.rates.csv")
    long = rates[(rates["epochs"] == 8) & (rates["domain"] == "BS")]
    assert long["seed"].nunique() == 3
    text = " ".join(text_of("docs/guides/02_convert_and_train.md").split())
    for total, accuracy in long.groupby("rate_sum")["held_out_accuracy_pct"].mean().items():
        assert re.search(rf"\b{accuracy:.0f} % with (a sum of )?{total:.0f}\b", text), (total, accuracy)
    real = rates[(rates["epochs"] == 8) & (rates["domain"] == "R")]
    best = real.groupby("rate_sum")["held_out_accuracy_pct"].mean().idxmax()
    assert f"real weights are best at {best:.0f}." in text


def test_the_cost_of_an_augmented_step_is_that_of_the_record():
    speed = pd.read_csv(repo_root() / "data/results/shiftaddaug_supp_t03/quick-random-images.csv")
    speed = speed.set_index("method")["speed_it_per_s"]
    text = text_of("docs/guides/02_convert_and_train.md")
    for method in ("Shift", "Add"):
        assert f"Aug{method} {speed[method] / speed[f'Aug{method}']:.1f}" in text


def test_the_five_lines_to_a_cluster_are_those_of_the_readme():
    (lines,) = re.findall(r"```\n(.*?)```", text_of("docs/guides/07_cluster.md"), re.S)
    assert len(lines.splitlines()) == 5 and lines in text_of("README.md")


def test_the_reference_has_a_page_of_each_package_and_module():
    pages = listings.reference()
    for name in listings.PUBLIC + listings.MODULES:
        assert f".. automodule:: {name}\n" in pages[f"api/{name}.rst"] and f"\n{name}\n" in pages["api/index.md"]
    assert not set(listings.PUBLIC) & set(listings.MODULES)


def test_there_are_guides_with_code():
    assert sum("```python" in text_of(path) for path in guides()) >= 4
