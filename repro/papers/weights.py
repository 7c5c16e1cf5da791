"""Weights of the networks behind a table: every training keeps those it tested, and `weights_of` takes them out.

A file says which network it holds and carries a card: how it was trained, on what, how good it is, which licence.
"""

from __future__ import annotations

import dataclasses
import itertools
import re
import shutil
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from torch import nn

from repro.errors import InputError, check_seed
from repro.layers import quantize_shifts
from repro.models.weights import load_model, read_card, save_weights
from repro.paths import atomic_path, check_writable, write_text
from repro.runs import Outcome, RunContext, provenance
from repro.runs.spec import to_plain

LICENCE = "Apache-2.0 (of the weights; the data have their own)"


def keep_weights(context: RunContext, model: nn.Module, job: Any, seed: int, value: Mapping[str, Any]) -> None:
    """Write the weights of a tested network into its run's folder, with their card.

    Args:
        job: has data (DataRecipe) and train (a dataclass); its other fields are told as the method.
        value: what was found in the test, as `quality` reads it.
    """
    from repro.papers.data import data_source

    about = {f.name: getattr(job, f.name) for f in dataclasses.fields(job) if f.name not in ("data", "train")}
    training = {"recipe": to_plain(job.train), "method": to_plain(about)}
    save_weights(model, context.weights, card=card(model, data_source(job.data), training, seed, quality(value)))


def card(
    model: nn.Module,
    data: Mapping[str, Any],
    training: Mapping[str, Any],
    seed: int,
    found: Mapping[str, Any],
) -> dict[str, Any]:
    """What a reader should know of weights, as plain values.

    Args:
        data: name, fingerprint and source.  training: "recipe" and, of a run, "method".  found: `quality`.
    """
    return {
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "data": dict(data),
        **training,
        "seed": seed,
        "accuracy": dict(found),
        "licence": LICENCE,
        "provenance": provenance(),
    }


def quality(value: Mapping[str, Any]) -> dict[str, Any]:
    """How good a network is on test data: top-1 of a classifier (percent) with its 95 % interval over images, mean IoU
    of a segmenter, or BLEU of a translator with its 95 % interval over sentences."""
    if "bleu" in value:
        low, high = value["bleu_interval"]
        return {"bleu": value["bleu"], "low": low, "high": high, "test_sentences": value["examples"]}
    if "miou_pct" in value:
        return {"miou_pct": value["miou_pct"], "test_images": value["examples"]}
    return accuracy_interval(value["top1_pct"], value["examples"])


def accuracy_interval(top1_pct: float, examples: int) -> dict[str, Any]:
    """Top-1 accuracy (percent) on `examples` test images with its 95 % interval over images (Wilson)."""
    from scipy.stats import binomtest

    right = round(top1_pct * examples / 100)
    low, high = binomtest(right, examples).proportion_ci(method="wilson")
    return {"top1_pct": top1_pct, "low_pct": 100 * low, "high_pct": 100 * high, "test_images": examples}


PACKED = "shift layers as codes of 4 or 5 bits"
LONGEST = 100
"""Characters of an option that a card's text repeats; a longer one is in the file alone."""


def card_text(network: Mapping[str, Any], card: Mapping[str, Any], *, scale: str = "") -> str:
    """The card as Markdown.

    Args:
        network: the recipe by which `repro.models.create` builds it, {} if it does not.
        card: as `card` makes it.
        scale: how far the training is from the paper's.
    """

    def listed(values: Mapping[str, Any]) -> str:
        texts = {name: str(value) for name, value in values.items()}
        return ", ".join(f"{name} {text if len(text) <= LONGEST else '(in the file)'}" for name, text in texts.items())

    made, method = card["provenance"], dict(card.get("method", {}))
    ways = method.pop("method", {})  # a way of training by name of its parts
    options = {name: value for name, value in network.items() if name != "name"}
    rows = {
        "network": f"{network['name']} ({listed(options)})" if network else "built by the code of its table",
        "parameters": card["parameters"],
        "form": card.get("form", ""),
        "data": ", ".join(f"{name} {value}" for name, value in card["data"].items()),
        "recipe": listed(card["recipe"]),
        "method": listed(method | (ways if isinstance(ways, Mapping) else {"method": ways})),
        "scale": scale,
        "seed": card["seed"],
        "accuracy": _told(card["accuracy"]),
        "licence": card["licence"],
        "made by": f"revision {made['git_revision']}{'' if made['git_clean'] else ' (changed)'}, {made['device']}, "
        f"{listed(made['versions'])}, {made['date']}",
    }
    lines = [f"- {name}: {text}" for name, text in rows.items() if text != ""]
    loads = "`repro.models.load_model`" if network else "`repro.models.load_weights`, into a network of the same build"
    return f"# {network.get('name', 'network')}\n\n" + "\n".join(lines) + f"\n\nIt loads with {loads}.\n"


def _told(found: Mapping[str, Any]) -> str:
    if "miou_pct" in found:
        return (
            f"{found['miou_pct']:.2f} % mean IoU on {found['test_images']} test images, of which no interval is kept; "
            "one training says nothing of others"
        )
    if "bleu" in found:
        return (
            f"BLEU {found['bleu']:.2f} on {found['test_sentences']} test sentences, 95 % interval over sentences "
            f"{found['low']:.2f} to {found['high']:.2f}; one training says nothing of others"
        )
    return (
        f"{found['top1_pct']:.2f} % top-1 on {found['test_images']} test images, 95 % interval over images "
        f"{found['low_pct']:.2f} to {found['high_pct']:.2f} % (Wilson); one training says nothing of others"
    )


class _Noting:
    """Does a table's runs and notes the key under which each was asked for first: two columns may show one run."""

    def __init__(self, run) -> None:
        self.run = run
        self.noted: dict[Path, tuple[str, Outcome]] = {}

    def __call__(self, specs):
        done = self.run(specs)
        for key, outcome in done.items():
            parts = key if isinstance(key, tuple) else (key,)
            # The seed comes last in a key; it is the same for all.
            words = parts[:-1] if type(parts[-1]) is int and parts[-1] == outcome.spec.seed else parts
            self.noted.setdefault(outcome.spec.folder, (slug("-".join(map(str, words))), outcome))
        return done


def _named(noted: Iterable[tuple[str, Outcome]]) -> dict[str, Outcome]:
    """Outcomes by names of their own: behind one that is taken stands the kind of run, then a number."""
    named: dict[str, Outcome] = {}
    for name, outcome in noted:
        longer = f"{name}-{slug(outcome.spec.kind)}"
        names = itertools.chain([name, longer], (f"{longer}-{number}" for number in itertools.count(2)))
        named[next(each for each in names if each not in named)] = outcome
    return named


def slug(text: str) -> str:
    """A text as part of a file's name: small letters, digits and single hyphens; an arrow upwards is "up"."""
    text = text.replace("↑", " up")
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")


def weights_of(
    table_id: str,
    folder: Path,
    *,
    preset: str = "quick",
    dataset: str | None = None,
    seed: int = 0,
    packed: bool = False,
    **options,
) -> list[Path]:
    """Weights and cards of the networks of a table, in files `<table>-<row>-<data set>.safetensors` and `.md`.

    Runs that are missing are done now, as `run_table` would; those behind the table's record are taken where
    `repro verify` has shown that today's code computes the same.

    Args:
        folder: where to, made if it is not there.
        seed: of the trainings.
        packed: write shift layers as codes of 4 or 5 bits (`repro.layers.quantize_shifts`), which compute the same;
            networks that `repro.models.create` does not build stay as they are.
        options: as `repro.runs.engine`.
    Returns: the files of weights, sorted.
    Raises: InputError as `run_table`, before any run for a folder that cannot be written, and for a table none of whose
        runs holds weights; damaged weights are named.
    """
    from repro import runs
    from repro.papers.earlier import may_take
    from repro.papers.registry import entry
    from repro.report.records import latest

    table = entry(table_id)
    if table.trained is None:
        raise InputError(f"table={table_id!r} is not allowed; nothing in it is trained.")
    recipe, chosen = table.recipe(table_id, preset, dataset)
    check_writable(folder, advice="name another")
    engine = options.pop("engine", "local")
    run = runs.engine(engine, **options)
    if engine != "torchrun" and not options.get("fresh"):  # as `run_table`: what stands behind the record is good
        run.instead = may_take(latest(table_id, preset, chosen))
    noted = _Noting(run)
    table.trained(recipe, [check_seed(seed)], noted)
    written, holding = [], []
    for name, outcome in noted.noted.values():
        if not outcome.ok:
            why = f"{outcome.state}, {outcome.message}"
            print(f"No weights of a run of kind {outcome.spec.kind}: {why}", file=sys.stderr)
        elif RunContext(outcome.folder).weights.is_file():
            holding.append((name, outcome))
    for name, outcome in _named(holding).items():
        kept = RunContext(outcome.folder).weights
        network, about = read_card(kept)
        words = (table_id, name, chosen, f"seed{seed}" if seed else "")
        target = folder / f"{'-'.join(filter(None, words))}.safetensors"
        if packed and network:
            about |= {"form": PACKED}
            save_weights(quantize_shifts(load_model(kept)), target, card=about)
        else:
            with atomic_path(target) as temporary:
                shutil.copyfile(kept, temporary)
        write_text(target.with_suffix(".md"), card_text(network, about, scale=table.scale.get(preset, "")))
        written.append(target)
    if not written:
        raise InputError(f"table={table_id!r} is not allowed; none of its runs of preset {preset} holds weights.")
    return sorted(written)
