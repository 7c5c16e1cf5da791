"""What table 3 and figure 5 of ShiftAddNAS show: searches, trainings of what they found, and the frame of both."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from repro.cost import ACCOUNTINGS, TranslationCost, translation_cost
from repro.models.translation_configs import ATTENTION, EVOLVED, TranslationConfig
from repro.papers.analytic import BILLION, MILLION
from repro.papers.jobs import note_of
from repro.papers.shiftaddnas import translating, translation_search
from repro.papers.shiftaddnas.translation_recipes import ROWS, SEARCHED, STANDS_FOR, TranslationsRecipe
from repro.runs import Outcome


def trained_rows(recipe: TranslationsRecipe, seeds: Sequence[int], run) -> pd.DataFrame:
    """The searches of both spaces, then every row's network by itself: one row per row, language pair and seed.

    Latency and energy are those of the paper's script for the network as it is trained, as table 3 prints them (none of
    the Evolved Transformer); the limits of searches are of the corrected ones.
    `attrs["extra"]`: draws (BLEU with other test sentences), intervals (of each training), searches (predictor error,
    seconds, networks judged), accountings (energy and latency under each accounting), subnets (validation BLEU of the
    supernets' networks).
    """
    searches = run(
        {
            (pair, space, seed): translation_search.spec(mine.search_in(space), seed)
            for pair, mine in recipe.pairs.items()
            for space in mine.spaces
            for seed in seeds
        }
    )
    configs = {
        (pair, row, seed): config
        for pair, mine in recipe.pairs.items()
        for seed in seeds
        for row in mine.rows
        if (config := _network(mine, row, {space: searches[pair, space, seed] for space in mine.spaces})) is not None
    }
    done = run(
        {
            (pair, row, seed): translating.spec(recipe.pair(pair).job(row, config), seed)
            for (pair, row, seed), config in configs.items()
        }
    )
    frame = pd.DataFrame(_row(recipe, place, configs[place], outcome) for place, outcome in done.items())
    frame.attrs["stands_for"] = STANDS_FOR
    frame.attrs["extra"] = {
        "draws": translating.bleu_draws(_by_row(recipe, done)),
        "intervals": _intervals(recipe, done),
        "searches": _searches(searches),
        "accountings": _accountings(recipe, configs),
        "subnets": _subnets(searches),
    }
    return frame


def _network(mine, row: int, searches: dict[str, Outcome]) -> TranslationConfig | None:
    """A row's network; None where its search found none."""
    if row not in SEARCHED:
        return mine.fixed(row)
    space, limit = SEARCHED[row]
    return translation_search.config_found(searches[space], mine.search.limits[limit])


def _key(recipe: TranslationsRecipe, pair: str, row: int) -> dict[str, object]:
    model, bits = ROWS[row]
    return {"row": row, "model": model, "eight_bit": int(bits == 8), "dataset": recipe.pair(pair).search.data.dataset}


def _row(recipe: TranslationsRecipe, place, config: TranslationConfig, outcome: Outcome) -> dict[str, object]:
    pair, row, seed = place
    bits = ROWS[row][1]
    costs = cost_columns(translation_cost(config, bits=bits), bits)
    note = "; ".join(filter(None, [described(config), note_of(outcome)]))
    return {**_key(recipe, pair, row), **costs, "bleu": translating.bleu_of(outcome), "seed": seed, "note": note}


def cost_columns(cost: TranslationCost, bits: int) -> dict[str, float]:
    """params_m, flops_g, latency_ms, energy_mj of a network at 32 or 8 bit, as table 3 prints them."""
    # The 8-bit rows count parameters in 32-bit words and scale FLOPs with both operand widths.
    words, both = bits / 32, (bits / 32) ** 2
    return {
        "params_m": cost.params * words / MILLION,
        "flops_g": cost.flops * both / BILLION,
        "latency_ms": cost.latency_ms,
        "energy_mj": cost.energy_mj,
    }


def described(config: TranslationConfig) -> str:
    """A network in a line: width and, by layer, block type, feed-forward width and heads of both sides."""

    def side(name: str, embed: int, types: Sequence[str], ffn: Sequence[int], heads: Sequence[int]) -> str:
        layers = zip(types or (ATTENTION,) * len(ffn), ffn, heads)
        return f"{name} {embed}: " + ", ".join(f"{block} {hidden}/{number}" for block, hidden, number in layers)

    encoder = side("encoder", config.encoder_embed, config.encoder_types, config.encoder_ffn, config.encoder_heads)
    decoder = side("decoder", config.decoder_embed, config.decoder_types, config.decoder_ffn, config.self_heads)
    return f"{encoder}; {decoder}"


def _by_row(recipe: TranslationsRecipe, done):
    """(key, data set, outcomes of its seeds) of every row."""
    grouped: dict[tuple[str, int], list[Outcome]] = {}
    for (pair, row, _), outcome in done.items():
        grouped.setdefault((pair, row), []).append(outcome)
    for (pair, row), outcomes in grouped.items():
        key = _key(recipe, pair, row)
        yield key, key["dataset"], outcomes


def _intervals(recipe: TranslationsRecipe, done) -> pd.DataFrame:
    rows = []
    for (pair, row, seed), outcome in done.items():
        value = outcome.value or {}
        if value.get("bleu") is not None:
            low, high = value["bleu_interval"]
            about = {**_key(recipe, pair, row), "seed": seed, "validation_loss": value["validation_loss"]}
            rows.append({**about, "bleu": value["bleu"], "bleu_low": low, "bleu_high": high})
    return pd.DataFrame(rows)


def _searches(searches) -> pd.DataFrame:
    rows = []
    for (pair, space, seed), outcome in searches.items():
        value = outcome.value or {}
        about = {"pair": pair, "space": space, "seed": seed, "outcome": value.get("outcome", outcome.state)}
        measured = {name: value.get(name) for name in ("predictor_error_pct", "scored")}
        rows.append(about | measured | {f"{name}_s": spent for name, spent in value.get("seconds", {}).items()})
    return pd.DataFrame(rows)


def _subnets(searches) -> pd.DataFrame:
    rows = []
    for (pair, space, seed), outcome in searches.items():
        for number, network in enumerate((outcome.value or {}).get("subnets", [])):
            about = {"pair": pair, "space": space, "seed": seed, "subnet": number}
            rows.append(about | {name: value for name, value in network.items() if name != "genome"})
    return pd.DataFrame(rows)


def _accountings(recipe: TranslationsRecipe, configs) -> pd.DataFrame:
    rows = []
    for (pair, row, seed), config in configs.items():
        for accounting in ACCOUNTINGS if EVOLVED not in config.encoder_types else ():
            cost = translation_cost(config, accounting=accounting, bits=ROWS[row][1])
            about = {**_key(recipe, pair, row), "seed": seed, "accounting": accounting}
            rows.append({**about, "energy_mj": cost.energy_mj, "latency_ms": cost.latency_ms})
    return pd.DataFrame(rows)
