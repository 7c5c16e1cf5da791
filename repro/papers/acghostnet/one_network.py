"""Train one network of the ACGhostNet space by itself: the command that the explorer offers for copying.

    python -m repro.papers.acghostnet.one_network CCg1,AAg1,... --dataset cifar10 --epochs 100

Sixteen module types, separated by commas. Hyperparameters are those of section 4.2 (`repro.train.recipe.ACGHOST_CIFAR`)
but for the epochs. Prints one line per epoch; nothing is stored.
"""

from __future__ import annotations

from typing import Annotated

import typer


def train(
    choices: Annotated[str, typer.Argument(help="Sixteen module types separated by commas.")],
    dataset: Annotated[str, typer.Option(help="Data set.")] = "cifar10",
    epochs: Annotated[int, typer.Option(help="Epochs.")] = 100,
    batch_size: Annotated[int, typer.Option(help="Images per step.")] = 256,
    width: Annotated[float, typer.Option(help="Width multiplier.")] = 1.0,
    train_images: Annotated[int, typer.Option(help="Images to train on, classes in proportion; 0 for all.")] = 0,
    seed: Annotated[int, typer.Option(help="Seed of weights and batch order.")] = 0,
) -> float | None:
    """Train one ACGhostNet and print its accuracy; returns the last test accuracy in percent."""
    import dataclasses

    import torch

    from repro.models import create
    from repro.papers.data import DataRecipe, load_splits
    from repro.runtime import seed_everything
    from repro.train import fit
    from repro.train.recipe import ACGHOST_CIFAR

    recipe = dataclasses.replace(ACGHOST_CIFAR, epochs=epochs, batch_size=batch_size)
    splits = load_splits(DataRecipe(dataset, train_images=train_images or None, test_images=train_images or None))
    seed_everything(seed)
    model = create(
        "acghostnet",
        choices=choices.split(","),
        width=width,
        form="cifar",
        num_classes=splits.num_classes,
        in_channels=splits.in_channels,
    )
    model.to("cuda" if torch.cuda.is_available() else "cpu")

    def show(row: dict) -> None:
        print("  ".join(f"{k} {v:.4g}" if isinstance(v, float) else f"{k} {v}" for k, v in row.items()), flush=True)

    history = fit(model, splits.train, splits.test, recipe, seed=seed, on_epoch=show)
    print(f"outcome: {history.outcome}. {history.detail}")
    return history.accuracy_pct if history.rows else None


if __name__ == "__main__":
    from repro.cli.main import run_command

    run_command(train)
