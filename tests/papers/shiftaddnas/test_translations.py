"""Table 3's translation half: what is searched, trained, kept and judged; one smoke run, and outcomes made by hand."""

from __future__ import annotations

import dataclasses
import shutil

import numpy as np
import pytest
import torch

from repro.cost import translation_cost
from repro.errors import DamagedError, InputError, MissingDataError
from repro.models.translation_configs import ATTENTION, EVOLVED, LIGHT_TYPES
from repro.models.weights import load_model
from repro.papers.shiftaddnas import t03, translating, translation_search, translator, tuning_translation
from repro.papers.shiftaddnas.translation_recipes import HAT, HYBRID, LITE, PAIRS, RECIPES, ROWS, SEARCHED
from repro.papers.shiftaddnas.translation_search import cost_of, latency_predictor, reference
from repro.papers.shiftaddnas.translations import trained_rows
from repro.papers.text_data import TextRecipe, load_text
from repro.papers.weights import card_text
from repro.report import compare, judge
from repro.report.examples import pack_counts
from repro.runs import Outcome, RunContext
from repro.train import History
from repro.train.loop import DIVERGED
from repro.train.translation import translation_loss
from repro.widgets.translating import CHOSEN, Translator

SMOKE = RECIPES["smoke", "grammar"].pair("en-de")
QUICK = RECIPES["quick", "grammar"]


@pytest.fixture(scope="module")
def smoke(smoke_table):
    return smoke_table("shiftaddnas_t03")


@pytest.fixture
def searched(smoke, shared_smoke_runs, monkeypatch):
    """The smoke preset's search among all block types, finished."""
    monkeypatch.setenv("REPRO_RUNS", str(shared_smoke_runs))
    return translator.found("smoke", None, "en-de")


def test_rows_are_trained_networks_of_the_space_that_they_name(smoke):
    rows = smoke.set_index("row")
    assert rows.index.tolist() == [1, 4, 9, 10]
    assert rows.loc[1, "note"].count("attention ") == 4 and "+" not in rows.loc[1, "note"]
    assert rows.loc[9, "note"].count(LITE) == 4 and rows.loc[10, "note"] == rows.loc[4, "note"]
    assert rows.loc[10, "params_m"] == pytest.approx(rows.loc[4, "params_m"] / 4, rel=1e-3)
    assert rows.loc[10, "flops_g"] == pytest.approx(rows.loc[4, "flops_g"] / 16, rel=1e-2)
    draws = smoke.attrs["extra"]["draws"]
    assert draws.groupby("row").size().tolist() == [200] * 4
    intervals = smoke.attrs["extra"]["intervals"]
    assert (intervals["bleu_low"] <= intervals["bleu"]).all() and (intervals["bleu"] <= intervals["bleu_high"]).all()


def test_networks_that_are_found_keep_both_limits(searched):
    run, whole = searched.spec.recipe, translation_cost_of_reference()
    for share, network in searched.value["found"].items():
        assert network["flops"] <= float(share) * whole.flops
        assert network["predicted_ms"] <= float(share) * whole.latency_ms
        assert network["flops"] == cost_of(run.space, network["genome"]).flops


def translation_cost_of_reference():
    return translation_cost(reference(SMOKE.search.space), accounting="corrected")


def test_the_kept_supernet_gives_the_recorded_losses(searched):
    supernet, text = translation_search.supernet_of(searched)
    for network in searched.value["subnets"][:2]:
        loss = translation_loss(supernet.subnet(network["genome"]), text.validation)
        assert loss == pytest.approx(network["validation_loss"], rel=1e-5)


def test_weights_that_are_gone_or_damaged_are_one_sentence(searched, tmp_path, monkeypatch):
    folder = tmp_path / searched.spec.kind / searched.spec.folder.name
    shutil.copytree(searched.spec.folder, folder)
    monkeypatch.setenv("REPRO_RUNS", str(tmp_path))
    weights = folder / translation_search.WEIGHTS
    body = bytearray(weights.read_bytes())
    body[len(body) // 2] ^= 1
    weights.write_bytes(body)
    with pytest.raises(DamagedError, match="checkpoint supernet cannot be read"):
        translation_search.supernet_of(searched)
    weights.unlink()
    with pytest.raises(InputError, match="weights of this search's supernet are not in its run folder"):
        translation_search.supernet_of(searched)


def test_the_predictor_is_within_5_percent_on_networks_that_it_has_not_seen():
    _, error = latency_predictor(QUICK.pair("en-de").search.space, 100, seed=0)
    assert 0 < error < 5
    space = dataclasses.replace(
        SMOKE.search_in(HAT).space, embed=(16,), ffn=(16,), heads=(2,), decoder_layers=(1,), cross=(-1,)
    )
    with pytest.raises(InputError, match="known_networks=9 is not allowed; 1 networks of the space were drawn"):
        latency_predictor(space, 9, seed=0)


@pytest.mark.parametrize("slope", [1.0, -1.0], ids=["small is better", "large is better"])
def test_a_search_goes_by_the_loss_of_validation_sentences_and_by_nothing_else(slope, tmp_path, monkeypatch):
    """Losses differ by a millionth or less, in favour of few FLOPs or of many: any reward of FLOPs would show."""
    run, text = dataclasses.replace(SMOKE.search, limits=(0.9,)), load_text(SMOKE.search.data)
    read, judged = [], {}

    def loss(network, pairs):
        config = run.space.config(network.active) if hasattr(network, "active") else network.config
        value = 1.0 + slope * 1e-6 * translation_cost(config).flops / translation_cost(reference(run.space)).flops
        read.append(pairs.source)
        if hasattr(network, "active"):
            judged[network.active] = value
        return value

    def translate(network, sentences, *_, **__):
        read.append(sentences)
        return list(sentences)

    monkeypatch.setattr(translation_search, "translation_loss", loss)
    monkeypatch.setattr(translation_search, "translate", translate)
    monkeypatch.setattr(translation_search, "fit_translation", lambda *_, **__: History())
    (found,) = translation_search.search(run, 0, RunContext(tmp_path))["found"].values()
    assert len(set(judged.values())) > 3 and judged[tuple(found["genome"])] == min(judged.values())
    validation = text.validation.source
    assert set(read) == {validation, validation[: run.scored_sentences], text.validation_text[0]}
    assert not set(text.test_text[0]) & set(text.validation_text[0])


@pytest.mark.parametrize(("row", "bits"), [(9, 8), (1, 32)])
def test_rows_of_8_bits_are_trained_with_8_bits_and_the_others_with_none(row, bits, tmp_path, monkeypatch):
    made = []

    def fit(model, *_, **__):
        made.append(model)
        return History(outcome=DIVERGED)

    monkeypatch.setattr(translating, "fit_translation", fit)
    for shared in (True, False):
        job = dataclasses.replace(SMOKE.job(row, SMOKE.fixed(row)), share_embeddings=shared)
        assert job.bits == bits and translating.train_translation(job, 0, RunContext(tmp_path))["bleu"] is None
        layers = {n: m for n, m in made[-1].named_modules() if isinstance(m, torch.nn.Linear | torch.nn.Conv2d)}
        rounded = {name for name, layer in layers.items() if hasattr(layer, "input_range")}
        assert len(layers) > 10 and rounded == (set(layers) - {"classifier"} if bits == 8 else set())
        assert {layers[name].parametrizations.weight[0].bits for name in rounded} == ({8} if bits == 8 else set())


def test_a_limit_that_no_network_meets_is_told_before_training(tmp_path):
    context = RunContext(tmp_path)
    with pytest.raises(InputError, match=r"limit (latency_ms|flops)=.* is met by no genome of the space"):
        translation_search.search(dataclasses.replace(SMOKE.search, limits=(0.01,)), 0, context)
    assert context.metrics() == []


# ------------------------------------------------------------------ outcomes made by hand


def counts(quality: float, seed: int, sentences: int = 300) -> np.ndarray:
    """Counts of sentences of ten words, of which about `quality` match."""
    draw = np.random.default_rng(seed)
    totals = np.array([10, 9, 8, 7])
    matched = draw.binomial(totals, [quality, quality**2, quality**3, quality**4], size=(sentences, 4))
    return np.column_stack([np.full((sentences, 2), 10), matched, np.tile(totals, (sentences, 1))])


def engine(quality):
    """Searches find any network; a training's translations are as good as `quality` says of its network's row."""
    specs_of = {}

    def run(specs):
        outcomes = {}
        for place, spec in specs.items():
            specs_of[place] = spec
            if spec.kind == "translation_search":
                genome = list(spec.recipe.space.normal(spec.recipe.space.largest))
                found = {f"{share:g}": {"genome": genome} for share in spec.recipe.limits}
                value = {"outcome": "done", "found": found, "subnets": [], "seconds": {}}
            else:
                kept = counts(quality[place[1]], seed=7 * place[2] + place[1])
                bleu = translating.bleu_of_counts(kept.sum(axis=0))
                value = {"outcome": "done", "bleu": bleu, "bleu_interval": [0.0, 100.0], "validation_loss": 1.0}
                value |= {"examples": len(kept), "counts": pack_counts(kept)}
            outcomes[place] = Outcome(spec, "done", value, "")
        return outcomes

    run.specs = specs_of
    return run


def frame_of(quality, dataset="multi30k"):
    """Three seeds of the rows of `quality`, as a study would give them."""
    pairs = {name: dataclasses.replace(pair, rows=tuple(quality)) for name, pair in QUICK.pairs.items()}
    frame = trained_rows(dataclasses.replace(QUICK, pairs=pairs), [0, 1, 2], engine(quality))
    frame.attrs |= {"preset": "study", "dataset": dataset, "provenance": {"unit": "search"}}
    return frame


def status(claim, quality, **options):
    return judge(f"shiftaddnas-{claim}", {"shiftaddnas_t03": frame_of(quality, **options)}).status


def test_the_engine_judges_corpus_bleu():
    assert status("c10", {1: 0.6, 4: 0.8}) == "reproduced"
    assert status("c10", {1: 0.7, 4: 0.7}) == "undecided"
    hybrid = (4, 6, 8)
    assert status("c03", {row: 0.8 if row in hybrid else 0.6 for row in range(3, 9)}) == "reproduced"
    assert status("c03", {row: 0.6 if row in hybrid else 0.8 for row in range(3, 9)}) == "not reproduced"


def test_generated_sentences_decide_no_claim():
    assert TextRecipe("grammar").source["source"] == "generated sentences of a small grammar; nobody said them"
    assert status("c10", {1: 0.6, 4: 0.8}, dataset="grammar") not in ("reproduced", "not reproduced")


def test_every_row_asks_for_its_network_and_word_width():
    run = engine(dict.fromkeys(ROWS, 0.7))
    trained_rows(QUICK, [0], run)
    jobs = {place[:2]: spec.recipe for place, spec in run.specs.items() if spec.kind == "translation"}
    assert jobs.keys() == {(pair, row) for pair in PAIRS for row in ROWS}
    assert all(job.bits == (8 if row >= 9 else 32) for (_, row), job in jobs.items())
    assert jobs["en-de", 10].config == jobs["en-de", 4].config and jobs["en-fr", 12].config == jobs["en-fr", 6].config
    assert set(jobs["en-de", 1].config.encoder_types) == {ATTENTION}
    assert {*jobs["en-de", 2].config.encoder_types, *jobs["en-de", 2].config.decoder_types} == {EVOLVED}
    assert jobs["en-de", 9].config.encoder_embed > jobs["en-de", 11].config.encoder_embed
    searches = {spec.recipe.space for spec in run.specs.values() if spec.kind == "translation_search"}
    assert {space.encoder_types == (ATTENTION,) for space in searches} == {True, False}


def test_the_evolved_transformer_has_the_width_and_heads_of_the_transformer_and_no_energy():
    for recipe in RECIPES.values():
        for mine in recipe.pairs.values():
            like, evolved = mine.fixed(1), mine.fixed(2)
            assert (evolved.encoder_embed, evolved.decoder_embed) == (like.encoder_embed, like.decoder_embed)
            assert (evolved.qkv, *set(evolved.self_heads)) == (like.qkv, *set(like.self_heads))
            layers, cells = ((len(one.encoder_ffn), len(one.decoder_ffn)) for one in (like, evolved))
            assert (layers, cells) in {((6, 6), (3, 4)), ((2, 2), (1, 1))}
    frame = frame_of({1: 0.6, 2: 0.7})
    rows = frame[(frame["dataset"] == "grammar-en-de") & (frame["seed"] == 0)].set_index("row")
    assert rows["model"].tolist() == ["Transformer", "Evolved Trans."] and rows["bleu"][2] > rows["bleu"][1]
    assert rows[["params_m", "flops_g"]].notna().all(axis=None)
    assert rows[["latency_ms", "energy_mj"]].isna().all(axis=1).tolist() == [False, True]
    assert set(frame.attrs["extra"]["accountings"]["row"]) == {1}
    assert rows["note"][2] == "encoder 64: evolved 256/4; decoder 64: evolved 256/4"


def test_the_base_evolved_transformer_has_the_printed_parameters_and_the_big_one_has_not():
    """FLOPs of the base one are the printed ones but for the last digit; those of the big one are more."""
    ours = compare("shiftaddnas_t03", t03.computed())
    rows = ours[(ours["row"] == 2) & ours["column"].isin(["params_m", "flops_g"])].set_index(["dataset", "column"])
    fits = rows["matches_printed"].to_dict()
    assert [name for name, same in fits.items() if same] == [(t03.EN_DE, "params_m")] and len(fits) == 4
    assert abs(rows.loc[(t03.EN_DE, "flops_g"), "difference"]) < 0.051
    assert rows.loc[t03.EN_FR, "relative_error"].between(0.04, 0.08).all()


def test_a_search_that_failed_leaves_its_rows_out():
    whole = engine(dict.fromkeys(ROWS, 0.7))

    def run(specs):
        outcomes = whole(specs)
        for place, spec in specs.items():
            if place[1] == HYBRID:
                outcomes[place] = Outcome(spec, "failed", None, "killed")
        return outcomes

    frame = trained_rows(QUICK, [0], run)
    assert set(frame["row"]) == {row for row in ROWS if SEARCHED.get(row, (HAT,))[0] == HAT}
    assert frame.attrs["extra"]["searches"]["outcome"].value_counts().to_dict() == {"done": 2, "failed": 2}


def test_a_training_that_diverged_has_no_bleu_and_says_so():
    spec = translating.spec(SMOKE.job(1, SMOKE.fixed(1)), 0)
    outcome = Outcome(spec, "done", {"outcome": "diverged", "detail": "step 3", "bleu": None, "examples": 0}, "")
    assert np.isnan(translating.bleu_of(outcome)) and translating.counts_of(outcome) is None


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"corpus": "multi30"}, "corpus='multi30' is not known.*Did you mean 'multi30k'"),
        ({"pair": "de-en"}, "pair='de-en' is not known"),
    ],
)
def test_a_corpus_or_pair_that_is_none_is_refused(change, message):
    with pytest.raises(InputError, match=message):
        TextRecipe(**({"corpus": "grammar"} | change))


def test_absent_text_names_the_command_and_a_preset_without_a_pair_its_pairs(monkeypatch, tmp_path):
    monkeypatch.setenv("REPRO_DATA", str(tmp_path))
    with pytest.raises(MissingDataError, match="run 'python -m repro data fetch multi30k'"):
        load_text(TextRecipe("multi30k"))
    with pytest.raises(
        MissingDataError, match=r"train\.en\.gz was not found in .*wmt14-en-fr; put the text files there"
    ):
        load_text(TextRecipe("wmt14", "en-fr"))
    with pytest.raises(InputError, match="pair='en-fr' is not allowed; this preset has: en-de"):
        translator.recipe_of("smoke", None, "en-fr")


def test_choices_are_tested_on_validation_sentences(tmp_path, monkeypatch):
    """A network that repeats the translations it is asked for is right about whichever sentences test it."""
    job, seen = SMOKE.job(1, SMOKE.fixed(1)), []
    monkeypatch.setattr(translating, "fit_translation", lambda *_, **__: History())
    monkeypatch.setattr(translating, "translate", lambda _, source, *__, **___: seen.append(source) or list(source))
    text = load_text(job.data)
    for tested_on, (source, _) in (("test", text.test_text), ("validation", text.validation_text)):
        translating.train_translation(
            dataclasses.replace(job, tested_on=tested_on), 0, RunContext(tmp_path / tested_on)
        )
        assert seen[-1] == source
    assert seen[0] != seen[1]
    with pytest.raises(InputError, match="tested_on='train' is not known"):
        dataclasses.replace(job, tested_on="train")


def test_each_kind_of_network_trains_at_its_own_rate():
    mine = dataclasses.replace(SMOKE, rows=tuple(ROWS), rates={HYBRID: 0.01, "8 bit": 0.02, "Evolved Trans.": 0.03})
    rates = {row: mine.job(row, mine.fixed(1)).train.lr for row in ROWS}
    usual = SMOKE.train.lr
    assert rates == {row: {4: 0.01, 6: 0.01, 8: 0.01, 2: 0.03}.get(row, 0.02 if row >= 9 else usual) for row in ROWS}
    assert [mine.search_in(space).train.lr for space in (HAT, HYBRID)] == [usual, 0.01]


def test_the_network_that_chooses_for_all_block_types_has_every_light_branch():
    mixed = tuning_translation.mixed(RECIPES["study", "multi30k"].pair("en-de").search.space)
    branches = {block.partition("+")[2] for block in (*mixed.encoder_types, *mixed.decoder_types)}
    assert branches == set(LIGHT_TYPES) and len(mixed.encoder_types) == len(mixed.encoder_ffn)


def test_long_training_sentences_are_left_out():
    recipe = TextRecipe("grammar", train_sentences=40, judged_sentences=4, vocabulary=300)
    lengths = [max(map(len, pair)) for pair in zip(load_text(recipe).train.source, load_text(recipe).train.target)]
    limit = sorted(lengths)[10]
    kept = load_text(dataclasses.replace(recipe, max_tokens=limit)).train
    assert len(kept) == sum(length <= limit for length in lengths)
    with pytest.raises(InputError, match="max_tokens=1 leaves no training sentence of grammar-en-de"):
        load_text(dataclasses.replace(recipe, max_tokens=1))


def test_figure_5_draws_bleu_against_each_cost(smoke):
    from repro.papers.shiftaddnas import f05

    drawings = f05.draw(smoke)
    assert [drawing.part for drawing in drawings] == ["", "latency", "energy"]
    assert "mean of 1 seed," in drawings[0].caption and t03.draw(smoke) == []


def test_figure_5_shows_the_evolved_transformer_against_flops_alone(monkeypatch):
    from repro.papers.shiftaddnas import f05

    seen = []
    monkeypatch.setattr(f05, "energy_accuracy", lambda points, *, x, **_: seen.append((x, set(points["name"]))))
    f05.draw(frame_of({1: 0.6, 2: 0.7, 4: 0.7}))
    priced = {"1", "4"}
    assert seen == [("flops_g", {*priced, "2"}), ("latency_ms", priced), ("energy_mj", priced)]


# ------------------------------------------------------------------ translating


def test_a_translator_translates_with_the_networks_of_the_record(searched):
    able = translator.translator(searched)
    assert list(able.networks)[:3] == ["found, limit 0.9", "found, limit 0.8", "found, limit 0.7"]
    name = next(iter(able.networks))
    assert isinstance(able.translate(name, able.examples[0], beam=1), str)
    facts = able.facts(name)
    assert facts["validation_bleu"] == searched.value["found"]["0.9"]["validation_bleu"]
    assert able.facts(name, bits=8)["energy_mj"] < facts["energy_mj"]
    with pytest.raises(InputError, match="sentence is empty; write one in the source language"):
        able.translate(name, "  ")
    with pytest.raises(InputError, match="network='found' is not known"):
        able.facts("found")
    assert len(translator.overview(able)) == len(able.networks)


def test_the_explorer_shows_a_translation_and_says_what_is_wrong_beside_it(searched):
    pytest.importorskip("ipywidgets", reason="the notebooks extra is not installed")
    pytest.importorskip("anywidget", reason="the notebooks extra is not installed")
    from repro.widgets.translating_view import TranslationExplorer

    able = translator.translator(searched)
    explorer = TranslationExplorer(able)
    assert f"{able.facts(explorer.network.value)['validation_bleu']:.1f}" in explorer.readout.value
    explorer.network.value = list(able.networks)[-1]
    chosen = able.facts(explorer.network.value)
    assert json_points(explorer)[1] == [chosen["energy_mj"]]
    shown = (
        f"{1e3 * chosen['latency_ms']:.1f}",
        f"{1e3 * chosen['energy_mj']:.1f}",
        f"{chosen['validation_bleu']:.1f}",
    )
    assert all(f">{number}<" in explorer.readout.value for number in shown)
    explorer.sentence.value = " "
    assert "sentence is empty" in explorer.sentence_message.value


def test_any_network_of_the_supernet_can_be_chosen_and_measured(searched):
    """A network of the record, chosen by its genes, has the record's scores, and measured anew the same ones."""
    able = translator.translator(searched)
    first, *_, other = able.networks
    recorded = able.facts(first)
    assert able.choose(able.genes_of(first)) == CHOSEN
    assert able.facts(CHOSEN) == recorded
    changed = able.genes_of(first) | {"encoder embed": 8, "encoder 0 type": "conv", "encoder 0 ffn": 8}
    able.choose(changed)
    facts = able.facts(CHOSEN)
    assert np.isnan(facts["validation_bleu"]) and facts["energy_mj"] != recorded["energy_mj"]
    assert able.layers(CHOSEN)[0][:3] == ("encoder", "conv", 8)
    scores = able.measure(CHOSEN)
    assert able.facts(CHOSEN)["validation_loss"] == scores["validation_loss"] != recorded["validation_loss"]
    able.choose(able.genes_of(other))
    able.choose(changed)
    assert able.facts(CHOSEN)["validation_loss"] == scores["validation_loss"], "measured once"
    kept = {name: able.networks[first][name] for name in ("validation_bleu", "validation_loss")}
    assert able.measure(first) == pytest.approx(kept)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"encoder embed": 9}, "gene encoder embed=9 is not known; allowed are: 16, 8"),
        ({"encoder embd": 8}, "gene='encoder embd' is not known.*Did you mean 'encoder embed'"),
        ({"encoder embed": None}, "gene encoder embed=None is not known"),
    ],
)
def test_genes_of_no_network_are_refused(searched, change, message):
    able = translator.translator(searched)
    with pytest.raises(InputError, match=message):
        able.choose(able.genes_of(next(iter(able.networks))) | change)
    with pytest.raises(InputError, match="gene 'encoder embed' is missing"):
        able.choose({})
    assert CHOSEN not in able.networks
    bare = Translator(able._supernet, able.vocabulary, able.networks, languages=able.languages)
    with pytest.raises(InputError, match="has no sentences to measure BLEU on"):
        bare.measure(next(iter(bare.networks)))


def test_the_explorer_takes_a_network_gene_by_gene(searched):
    pytest.importorskip("ipywidgets", reason="the notebooks extra is not installed")
    pytest.importorskip("anywidget", reason="the notebooks extra is not installed")
    from repro.widgets.translating_view import TranslationExplorer

    able = translator.translator(searched)
    explorer = TranslationExplorer(able)
    first = explorer.network.value
    shown = {name: gene.value for name, gene in explorer.genes.items()}
    assert shown.items() <= able.genes_of(first).items()
    gene = explorer.genes["encoder 0 type"]
    gene.value = "shiftadd" if gene.value != "shiftadd" else "conv"
    assert explorer.network.value == CHOSEN and able.layers(CHOSEN)[0][1] == gene.value
    explorer.measure.click()
    assert f"{able.facts(CHOSEN)['validation_bleu']:.1f}" in explorer.measure_message.value
    assert "not measured" not in explorer.readout.value and not explorer.measure.disabled
    depth = explorer.genes["decoder layers"]
    for layers in (3 - depth.value, depth.value):
        depth.value = layers
        assert explorer.genes["decoder 1 type"].disabled == (layers == 1)
        assert ("not measured" in explorer.readout.value) == np.isnan(able.facts(CHOSEN)["validation_bleu"])
    explorer.network.value = first
    assert {name: gene.value for name, gene in explorer.genes.items()} == shown


def json_points(explorer):
    return [list(trace.x) for trace in explorer.map.chart.data]


def test_a_training_keeps_its_weights_with_bleu_on_their_card_and_they_know_their_vocabulary(tmp_path):
    job, context = SMOKE.job(1, SMOKE.fixed(1)), RunContext(tmp_path)
    value = translating.train_translation(job, 0, context)
    model = load_model(context.weights)
    assert model.card["accuracy"]["bleu"] == value["bleu"] and model.card["data"]["dataset"] == "grammar-en-de"
    assert "BLEU" in card_text(model.recipe, model.card) and "test sentences" in card_text(model.recipe, model.card)
    text = load_text(job.data)
    assert model.vocabularies == (text.vocabulary.fingerprint,) * 2
    again = translating.tested(model, text, beam=job.beam, length_penalty=job.length_penalty)
    assert again["counts"] == value["counts"]
    eight = dataclasses.replace(job, bits=8)
    translating.train_translation(eight, 0, RunContext(tmp_path / "8"))
    assert not RunContext(tmp_path / "8").weights.exists()  # no recipe builds it
