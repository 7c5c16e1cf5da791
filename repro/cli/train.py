"""`python -m repro train`: train one model by its name; what the explorer offers for copying. Nothing is stored.

`python -m repro translate`: translate with the networks of a search, which is kept.
"""

from __future__ import annotations

import ast
from typing import Annotated, Any

import typer

from repro.errors import InputError


def parse_options(pairs: list[str]) -> dict[str, Any]:
    """{"width": 0.5, "choices": ["CCg1", …]} of "width=0.5" and "choices=CCg1,AAg1"; other words stay words."""
    options = {}
    for pair in pairs:
        name, sign, text = pair.partition("=")
        if not sign or not name:
            raise InputError(f"set={pair!r} is not allowed; write name=value, for example width=0.5.")
        try:
            options[name] = ast.literal_eval(text)
        except (ValueError, SyntaxError):
            options[name] = text.split(",") if "," in text else text
    return options


def train(
    model: Annotated[str, typer.Argument(help="A model of repro.models, for example ghostnet.")],
    options: Annotated[
        list[str] | None, typer.Option("--set", help="Option of the model as name=value; may be repeated.")
    ] = None,
    dataset: Annotated[str, typer.Option(help="Data set.")] = "cifar10",
    epochs: Annotated[int, typer.Option(help="Epochs.")] = 100,
    batch_size: Annotated[int, typer.Option(help="Images per step.")] = 256,
    lr: Annotated[float, typer.Option(help="Peak rate; it falls to zero as a cosine.")] = 0.025,
    weight_decay: Annotated[float, typer.Option(help="Weight decay.")] = 3e-4,
    adaptive: Annotated[str, typer.Option(help="Adaptive rate on 'adder' layers, on 'all', or 'none'.")] = "adder",
    eta: Annotated[float, typer.Option(help="Scale of the adaptive rate; short trainings want about 0.5.")] = 1 / 15,
    train_images: Annotated[int, typer.Option(help="Images to train on, classes in proportion; 0 for all.")] = 0,
    seed: Annotated[int, typer.Option(help="Seed of weights and batch order.")] = 0,
) -> None:
    """Train one model and print its test accuracy after every epoch."""
    import torch

    from repro.datasets import REGISTRY
    from repro.datasets.registry import CLASSIFICATION
    from repro.errors import check_choice, check_int
    from repro.models import create
    from repro.papers.data import DataRecipe, device, load_splits
    from repro.train import TrainRecipe, fit

    known = [name for name, info in REGISTRY.items() if info.task == CLASSIFICATION and not info.folders]
    check_choice("dataset", dataset, known)
    images = check_int("train_images", train_images, minimum=0) or None
    recipe = TrainRecipe(
        epochs=epochs, batch_size=batch_size, lr=lr, weight_decay=weight_decay, adaptive=adaptive, eta=eta
    )
    data = DataRecipe(dataset, train_images=images, test_images=images)
    known = {name: data.facts[name] for name in ("in_channels", "num_classes")}
    torch.manual_seed(check_int("seed", seed, minimum=0))
    network = create(model, **(known | parse_options(options or []))).to(device())
    splits = load_splits(data)
    history = fit(network, splits.train, splits.test, recipe, seed=seed, on_epoch=_print_row)
    typer.echo(f"outcome: {history.outcome}. {history.detail}")


def _print_row(row: dict) -> None:
    texts = {name: f"{value:.4g}" if isinstance(value, float) else value for name, value in row.items()}
    typer.echo("  ".join(f"{name} {text}" for name, text in texts.items()))


def translate(
    sentences: Annotated[list[str], typer.Argument(help="English sentences, each in quotation marks.")],
    preset: Annotated[str, typer.Option(help="smoke, quick, study or paper.")] = "quick",
    dataset: Annotated[str, typer.Option(help="Data set; empty for the preset's default.")] = "",
    pair: Annotated[str, typer.Option(help="Languages, en-de or en-fr.")] = "en-de",
    network: Annotated[str, typer.Option(help="Name of a network; empty for the first one found.")] = "",
    beam: Annotated[int, typer.Option(help="Translations kept at each token.")] = 4,
    seed: Annotated[int, typer.Option(help="Seed of the search.")] = 0,
) -> None:
    """Translate with a network of ShiftAddNAS's search (run now if it is not there), weights of its supernet."""
    from repro.errors import check_int
    from repro.papers.shiftaddnas import translator

    outcome = translator.found(preset, dataset or None, pair, seed=check_int("seed", seed, minimum=0))
    able = translator.translator(outcome)
    name = network or next(iter(able.networks))
    for sentence in sentences:
        typer.echo(able.translate(name, sentence, beam=beam))
    facts = able.facts(name)
    typer.echo(
        f"{name}: validation BLEU {facts['validation_bleu']:.1f}, latency {facts['latency_ms']:.4g} ms and energy "
        f"{facts['energy_mj']:.4g} mJ at 30 tokens, modelled; networks are: {', '.join(able.networks)}.",
        err=True,
    )
