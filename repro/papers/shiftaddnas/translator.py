"""The networks of a search of table 3 as translators: page 32, and `python -m repro translate`."""

from __future__ import annotations

import pandas as pd

from repro.errors import InputError
from repro.papers.shiftaddnas import translation_search
from repro.papers.shiftaddnas.t03 import TABLE
from repro.papers.shiftaddnas.translation_recipes import HYBRID, SearchRun
from repro.papers.shiftaddnas.translation_search import ACCOUNTING
from repro.runs import Outcome
from repro.widgets.translating import Translator

EXAMPLES = 5


def recipe_of(preset: str, dataset: str | None, pair: str, space: str = HYBRID) -> SearchRun:
    """The search of a preset; InputError for one that there is not."""
    recipe, _ = TABLE.recipe("shiftaddnas_t03", preset, dataset)
    return recipe.pair(pair).search_in(space)


def found(
    preset: str, dataset: str | None, pair: str, *, space: str = HYBRID, seed: int = 0, fresh: bool = False
) -> Outcome:
    """The finished search of a preset (run now if it is not there). Raises: InputError if it found nothing."""
    from repro import runs

    spec = translation_search.spec(recipe_of(preset, dataset, pair, space), seed)
    outcome = runs.engine("local", fresh=fresh)({"search": spec})["search"]
    value = outcome.value or {}
    if value.get("outcome") != "done":
        raise InputError(f"the search found no networks: {value.get('detail') or outcome.message}")
    return outcome


def translator(outcome: Outcome) -> Translator:
    """A finished search as a translator: the networks that it found, then some at random."""
    supernet, text = translation_search.supernet_of(outcome)
    value = outcome.value
    named = {f"found, limit {share}": network for share, network in value["found"].items()}
    others = [network for network in value["subnets"] if network not in value["found"].values()]
    named |= {f"random {number}": network for number, network in enumerate(others, 1)}
    source, _ = text.validation_text
    about = {"languages": outcome.spec.recipe.data.languages, "examples": source[:EXAMPLES]}
    return Translator(supernet, text.vocabulary, named, validation=(*text.validation_text, text.validation), **about)


def overview(able: Translator) -> pd.DataFrame:
    """One row per network: recorded validation scores, modelled costs (as the search's limits count them), and its
    translation of the first example."""
    sentence = able.examples[0]
    rows = []
    for name in able.networks:
        facts = able.facts(name, accounting=ACCOUNTING)
        facts = {key: facts[key] for key in ("validation_bleu", "validation_loss", "flops", "latency_ms", "energy_mj")}
        rows.append({"network": name, **facts, sentence: able.translate(name, sentence)})
    return pd.DataFrame(rows)
