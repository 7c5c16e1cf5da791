"""`python -m repro train`: train one model by its name; what the explorer offers for copying.

Its weights are kept on request, in a file with a card: which network, trained how and on what, how good it is, and
under which licence. `python -m repro translate`: translate with the networks of a search, which is kept.
"""

from __future__ import annotations

import ast
import tempfile
from pathlib import Path
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
        if name in options:
            raise InputError(f"set={pair!r} is not allowed; {name} was set before.")
        try:
            options[name] = ast.literal_eval(text)
        except (ValueError, SyntaxError):
            options[name] = text.split(",") if "," in text else text
    return options


def check_options(options: dict[str, Any]) -> dict[str, Any]:
    """Return the options, or raise InputError if one of them is the model's name."""
    if "name" in options:
        raise InputError(f"set name={options['name']!r} is not allowed; the model's name is the first argument.")
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
    accumulate: Annotated[int, typer.Option(help="Parts of a batch that make one update: less memory.")] = 1,
    precision: Annotated[str, typer.Option(help="Of the forward pass: float32, or bfloat16 (autocast).")] = "float32",
    seed: Annotated[int, typer.Option(help="Seed of weights and batch order.")] = 0,
    save: Annotated[
        Path | None, typer.Option(help="Keep the weights in this .safetensors file, and a card beside it.")
    ] = None,
) -> None:
    """Train one model and print its test accuracy after every epoch.

    On several GPUs: torchrun --standalone --nproc-per-node 8 -m repro train MODEL; a batch is that of all together.
    """
    import torch

    from repro.datasets import REGISTRY
    from repro.datasets.imagenet import IMAGENET
    from repro.datasets.registry import CLASSIFICATION
    from repro.errors import check_choice, check_int, check_seed
    from repro.models.registry import create, describe, list_models
    from repro.papers.data import DataRecipe, device, load_splits
    from repro.train import TrainRecipe
    from repro.train.distributed import fit_distributed, process_group

    if save is not None:
        check_target(save)
    whole = [name for name, info in REGISTRY.items() if info.task == CLASSIFICATION and not info.folders]
    files = [name for name, info in REGISTRY.items() if info.task == CLASSIFICATION and info.folders]
    check_choice("dataset", dataset, [*whole, *files, IMAGENET])
    most = REGISTRY[dataset].rows["train"] if dataset in whole else None
    images = check_int("train_images", train_images, minimum=0, maximum=most) or None
    if images and dataset not in whole:
        raise InputError(f"train_images={train_images} is not allowed; {dataset} is read from its files, all of them.")
    recipe = TrainRecipe(
        epochs=epochs,
        batch_size=batch_size,
        lr=lr,
        weight_decay=weight_decay,
        adaptive=adaptive,
        eta=eta,
        accumulate=accumulate,
        precision=precision,
    )
    data = DataRecipe(dataset, train_images=images, test_images=images)
    known = {name: data.facts[name] for name in ("in_channels", "num_classes")}
    check_choice("model", model, list_models())
    if not known.keys() <= set(describe(model)["option"]):
        raise InputError(f"model={model!r} does not classify images, which {dataset} holds; choose one that does.")
    torch.manual_seed(check_seed(seed))
    network = create(model, **(known | check_options(parse_options(options or []))))
    with process_group() as (rank, _):
        network, splits = network.to(device()), load_splits(data)
        told = {"on_epoch": _print_row} if rank == 0 else {}
        history = fit_distributed(network, splits.train, splits.test, recipe, seed=seed, **told)
    if rank:
        return
    typer.echo(f"outcome: {history.outcome}. {history.detail}")
    if save is not None and history.diverged:
        raise InputError(f"the training diverged; nothing was written to {save}.")
    if save is not None:
        _save(network, save, data, recipe, seed, splits)


def check_target(path: Path) -> None:
    """Refuse a place that weights cannot be written to, before anything is trained."""
    if path.suffix != ".safetensors":
        raise InputError(f"save={str(path)!r} is not allowed; name a file that ends in .safetensors.")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path.parent):
            pass
    except OSError as error:
        raise InputError(f"save={str(path)!r} cannot be written ({error.strerror}); name another place.") from error


def _save(network, path: Path, data, recipe, seed: int, splits) -> None:
    """Write the weights with their card, and the card as text beside them."""
    from repro.models import save_weights
    from repro.papers.data import data_source
    from repro.papers.jobs import tested
    from repro.papers.weights import card, card_text, quality
    from repro.paths import write_text

    value = tested(network, splits.test, classes=data.facts["num_classes"], batch_size=recipe.eval_batch_size)
    source = {**data_source(data), "train_images": len(splits.train)}
    about = card(network, source, {"recipe": recipe.as_dict()}, seed, quality(value))
    save_weights(network, path, card=about)
    write_text(path.with_suffix(".md"), card_text(network.recipe, about))
    typer.echo(f"weights: {path}; card: {path.with_suffix('.md').name}")


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
    from repro.errors import check_int, check_seed
    from repro.papers.shiftaddnas import translator
    from repro.papers.shiftaddnas.translation_search import ACCOUNTING

    check_int("beam", beam, minimum=1)  # before the search, not after it
    if not all(sentence.strip() for sentence in sentences):
        raise InputError("a sentence is empty; give one that has words.")
    outcome = translator.found(preset, dataset or None, pair, seed=check_seed(seed))
    able = translator.translator(outcome)
    name = network or next(iter(able.networks))
    for sentence in sentences:
        typer.echo(able.translate(name, sentence, beam=beam))
    facts = able.facts(name, accounting=ACCOUNTING)
    typer.echo(
        f"{name}: validation BLEU {facts['validation_bleu']:.1f}, latency {facts['latency_ms']:.4g} ms and energy "
        f"{facts['energy_mj']:.4g} mJ at 30 tokens, modelled (accounting {ACCOUNTING!r}); "
        f"networks are: {', '.join(able.networks)}.",
        err=True,
    )
