"""Data, training and augmentation."""

from functools import partial
from pathlib import Path
from typing import assert_type

import torch
from torch import nn

from repro import augment as around
from repro import datasets, train
from repro.augment import AugmentedNetwork, AugmentRecipe, Window, augment, fit_augmented
from repro.datasets import Dataset, Vocabulary
from repro.models.mobile import MobileNet
from repro.train import AdaptiveLR, History, TensorData, Trainer, TrainRecipe, fit
from repro.train.imagefolder import ImageFolder
from repro.train.shift_trainer import ShiftTrainer


def stored(root: Path) -> Dataset:
    images = assert_type(datasets.load("digits", datasets.SPLITS[0], root, limit=100), Dataset)
    datasets.load("digits", "train", limit="100")  # type: ignore[arg-type]
    first, second = datasets.split_half(images, seed=0)
    assert_type(first.subset([0, 1, 2], "train/three"), Dataset)
    for inputs, labels in datasets.batches(second, 32, shuffle=True, generator=torch.Generator()):
        assert inputs.shape[0] == labels.shape[0]
    about: datasets.DatasetInfo = datasets.info("cifar10")
    assert_type(about.rows, dict[str, int])
    known: list[datasets.Presence] = datasets.list_datasets(root)
    source = datasets.find("cifar10", "test", root)
    assert source is not None or not known[0].present or about == datasets.REGISTRY["cifar10"]
    assert_type(datasets.fetch("cifar10", root, say=print), list[Path])
    assert_type(datasets.verify("cifar10"), list[tuple[bool, str]])
    return images


def sentences(root: str) -> float:
    text: datasets.ParallelText = datasets.load_parallel("grammar", "train", root, languages=("en", "de"))
    datasets.load_parallel("grammar", "train", languages=2)  # type: ignore[arg-type]
    words = assert_type(Vocabulary.learn(text.of("en"), size=500), Vocabulary)
    spoken: str = words.decode(words.encode("a sentence"))
    low, high = train.bleu_interval([spoken], ["a sentence"], confidence=0.9)
    train.bleu(spoken, 5)  # type: ignore[arg-type]
    return low + high + train.bleu([spoken], ["a sentence"])


def training(model: nn.Module, data: TensorData) -> float:
    history: History = fit(model, data, None, TrainRecipe(epochs=1, batch_size=32), seed=0)
    fit(model, data, None, TrainRecipe(epochs=1))  # type: ignore[call-arg]
    fit(model, 32, None, TrainRecipe(epochs=1), seed=0)  # type: ignore[arg-type]
    fit(model, datasets.load("digits", "train"), ImageFolder("imagenet", "val"), TrainRecipe(epochs=1), seed=0)
    TrainRecipe(epochs="1")  # type: ignore[arg-type]
    AdaptiveLR(torch.optim.SGD(model.parameters(), lr=0.05), model, mode="adder")
    AdaptiveLR(torch.optim.SGD(model.parameters()), model, eta="a")  # type: ignore[arg-type]
    prepared = train.prepare(datasets.load("digits", "test"))
    train.reestimate_batch_norm(model, prepared.input_batches(100, limit=1000))
    assert_type(train.evaluate(model, prepared), dict[str, float])
    assert_type(train.evaluate(model, ImageFolder("imagenet", "val"), batch_size=10), dict[str, float])
    train.evaluate(model, [1, 2])  # type: ignore[arg-type]
    train.predict(model, data, batch_size=500)
    train.predict(model, prepared)
    assert_type(train.profile_step(model, data.images, data.labels), dict[str, float])
    return history.accuracy_pct


class Noisy(Trainer):
    """A trainer of the user's own."""

    def step(self, batch: train.data.Batch) -> tuple[float, int, int]:
        return super().step(batch._replace(inputs=batch.inputs + 0.1))


def by_hand(model: nn.Module, data: TensorData, file: Path) -> dict[str, float]:
    trainer = Noisy(model, TrainRecipe(), examples=len(data), seed=0)
    Trainer(model, TrainRecipe(), examples=len(data))  # type: ignore[call-arg]
    try:
        row = trainer.epoch(data, 0)
    except train.Divergence as problem:
        row = {str(problem): 0.0}
    written: Path = train.save_checkpoint(file, model, trainer.optimizer, progress={"epoch": 1})
    progress: dict[str, object] = train.load_checkpoint(written, model)
    fit(model, data, data, TrainRecipe(), seed=0, checkpoint=written, on_epoch=print, trainer_class=Noisy)
    fit(model, data, None, TrainRecipe(), seed=0, trainer_class=partial(ShiftTrainer, auxiliary_weight=0.4))
    fit(model, data, None, TrainRecipe(), seed=0, trainer_class=5)  # type: ignore[arg-type]
    return row | trainer.evaluate(data) | {"known": float(len(progress))}


def augmented(model: nn.Module, data: TensorData, target: MobileNet) -> nn.Module:
    network: AugmentedNetwork = augment(model, width=2.2, op="shift", remap="laplace")
    augment(model, width="2.2")  # type: ignore[arg-type]
    recipe = AugmentRecipe(mutation=Window(0.1, 0.5), depth=None)
    AugmentRecipe(mutation=(0.1, 0.5))  # type: ignore[arg-type]
    fit_augmented(network, data, TrainRecipe(epochs=1), recipe, seed=0, test_data=data)
    fit_augmented(model, data, TrainRecipe(epochs=1), seed=0)  # type: ignore[call-arg]
    inner: around.InsideNetwork = around.augment_inside(target.spec, [True, False], target, op="adder")
    around.fit_plain(inner.export_target(), data, TrainRecipe(), seed=0, calibration_images=64)
    sample: around.Sample = network.sample(torch.Generator())
    network.set_mutation(len(sample.multiples))
    scales = assert_type(around.laplace_scales(model, nn.Conv2d), dict[str, float])
    make = around.remapping(around.REMAPPINGS[0], adder_scale=scales)
    around.remapping("laplace", adder_scale="1")  # type: ignore[arg-type]
    augment(model, remap=make, depth=[0, 1])
    around.gaussian_to_laplacian(torch.ones(3), 0.7, std=1.0)
    around.TransformationKernel(200)
    return network.export_target()
