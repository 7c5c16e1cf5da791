"""Equations 3, 4 and 5 of a whole network by hand: its forward pass and training steps written anew, in float64.

Nothing here calls a layer, an operator or a remap of the package; numbers of the network itself are its weights alone.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import pytest
import torch
from torch import nn
from torch.nn import functional

from repro.augment import AugmentRecipe, Sample, Window, augment, remapping
from repro.augment.train import AugmentedTrainer
from repro.train import TrainRecipe
from repro.train.data import Batch


class Bottleneck(nn.Module):
    """A network of a user: an inverted residual, a hidden layer with a bias and no norm, a classifier."""

    def __init__(self):
        super().__init__()
        self.stem, self.norm = nn.Conv2d(3, 4, 3, padding=1, bias=False), nn.BatchNorm2d(4)
        self.expand, self.inner = nn.Conv2d(4, 6, 1, bias=False), nn.BatchNorm2d(6)
        self.depthwise, self.middle = nn.Conv2d(6, 6, 3, padding=1, groups=6, bias=False), nn.BatchNorm2d(6)
        self.project, self.last = nn.Conv2d(6, 4, 1, bias=False), nn.BatchNorm2d(4)
        self.hidden, self.classifier = nn.Conv2d(4, 5, 1), nn.Linear(5, 3)

    def forward(self, x):
        x = torch.relu(self.norm(self.stem(x)))
        y = torch.relu(self.inner(self.expand(x)))
        y = torch.relu(self.middle(self.depthwise(y)))
        x = x + self.last(self.project(y))
        x = self.hidden(x.mean((2, 3), keepdim=True))  # no ReLU: adders without a norm give nothing positive
        return self.classifier(x.flatten(1))


TARGET = {  # (inputs, outputs)
    "stem": (3, 4), "expand": (4, 6), "depthwise": (6, 6), "project": (6, 4), "hidden": (4, 5), "classifier": (5, 3),
}  # fmt: skip
ADDER_SCALE = 0.9


@dataclass(frozen=True)
class Way:
    """Operator of the target, R, and how many layers (from the stem) do not multiply.

    The classifier of adders multiplies, as in table 3: one of adders would give the layers before it no gradient here.
    """

    op: str
    remap: str | None = None
    mutated: int = 6


def straight_through(x, rounded):
    return x + (rounded - x).detach()


def grid(x):
    """16 fraction bits."""
    return straight_through(x, torch.round(x * 65536) / 65536)


def powers(w):
    """Sign times 2^round(log2 |w|), exponents -14 to 0."""
    return straight_through(w, torch.sign(w) * 2.0 ** torch.log2(w.abs()).round().clamp(-14, 0))


class L1(torch.autograd.Function):
    """-sum |x - w| of (N, K, L) patches and (O, K) filters; AdderNet's gradients: x - w, and w - x cut at 1."""

    @staticmethod
    def forward(ctx, x, w):
        ctx.save_for_backward(x, w)
        return -(x[:, None] - w[None, :, :, None]).abs().sum(2)

    @staticmethod
    def backward(ctx, gradient):
        x, w = ctx.saved_tensors
        apart, g = x[:, None] - w[None, :, :, None], gradient[:, :, None]
        return ((-apart).clamp(-1, 1) * g).sum(1), (apart * g).sum((0, 3))


def adder(x, w, padding, depthwise):
    if depthwise:
        return torch.cat([adder(x[:, i : i + 1], w[i : i + 1], padding, False) for i in range(len(w))], 1)
    patches = functional.unfold(x, w.shape[2:], padding=padding)
    return L1.apply(patches, w.flatten(1)).reshape(len(x), len(w), *x.shape[2:])


def remapped(way, whole, raw):
    """R of equation 5: the Laplace quantile of the Gaussian's probability; mean and deviation are constants."""
    if way.remap in (None, "kl_only"):
        return raw
    mean, std = whole.detach().mean(), whole.detach().std(correction=0)
    z = (raw - mean) / std
    b = ADDER_SCALE if way.op == "adder" else std / math.sqrt(2)
    small = way.remap == "small_laplace" and way.op == "shift"
    r = -(0.1 * std if small else b) * torch.sign(z) * (torch.special.log_ndtr(-z.abs()) + math.log(2))
    return raw + r if small else r


def layer(name, x, outputs, weights, way):
    """Equation 4 with the channels that are there."""
    (target_in, target_out), depthwise = TARGET[name], name == "depthwise"
    w, bias = weights[f"{name}.weight"], weights.get(f"{name}.bias")
    flat = w.ndim == 2
    x, w = (x[..., None, None], w[..., None, None]) if flat else (x, w)
    padding, inputs = w.shape[-1] // 2, x.shape[1]
    outputs = inputs if depthwise else outputs
    multiplies = way.op == "conv" or list(TARGET).index(name) >= way.mutated

    def conv(x, w):
        return functional.conv2d(x, w, padding=padding, groups=len(w) if depthwise else 1)

    own = w[:target_out] if depthwise else w[:target_out, :target_in]
    bias_t = None if bias is None else bias[:target_out]
    if multiplies:
        y_t = conv(x[:, :target_in], own)
    elif way.op == "shift":
        x = grid(x)
        y_t = conv(x[:, :target_in], powers(remapped(way, w, own)))
        bias_t = None if bias is None else grid(bias_t)
    else:
        y_t = adder(x[:, :target_in], remapped(way, w, own), padding, depthwise)
    if depthwise:
        y_a = conv(x[:, target_in:], w[target_out:inputs]) if inputs > target_in else None
    else:
        if inputs > target_in:
            y_t = y_t + conv(x[:, target_in:], w[:target_out, target_in:inputs])
        y_a = conv(x, w[target_out:outputs, :inputs]) if outputs > target_out else None
    if bias is not None:
        y_t = y_t + bias_t[:, None, None]
        y_a = None if y_a is None else y_a + bias[target_out:outputs, None, None]
    y = y_t if y_a is None else torch.cat([y_t, y_a], 1)
    return y[..., 0, 0] if flat else y


def norm(name, x, weights):
    """Batch norm by the batch's own statistics, of the channels that are there."""
    mean, variance = x.mean((0, 2, 3), keepdim=True), x.var((0, 2, 3), correction=0, keepdim=True)
    scale, offset = (weights[f"{name}.{end}"][: x.shape[1], None, None] for end in ("weight", "bias"))
    return (x - mean) / torch.sqrt(variance + 1e-5) * scale + offset


def network(weights, x, sizes, way):
    """The forward pass with so many channels behind the stem, expanded, and hidden."""
    stem, expanded, hidden = sizes
    x = torch.relu(norm("norm", layer("stem", x, stem, weights, way), weights))
    y = torch.relu(norm("inner", layer("expand", x, expanded, weights, way), weights))
    y = torch.relu(norm("middle", layer("depthwise", y, None, weights, way), weights))
    x = x + norm("last", layer("project", y, stem, weights, way), weights)
    x = layer("hidden", x.mean((2, 3), keepdim=True), hidden, weights, way)
    return layer("classifier", x.flatten(1), 3, weights, way)


def augmented(way):
    torch.manual_seed(1)
    remap = None if way.remap is None else remapping(way.remap, adder_scale=ADDER_SCALE)
    op = dict.fromkeys(list(TARGET)[:5], "adder") if way.op == "adder" else way.op
    wide = augment(Bottleneck(), width=(1.0, 1.5, 2.0), expand=(1.0, 2.0, 3.0), op=op, remap=remap).double().train()
    with torch.no_grad():
        for parameter in wide.network.parameters():
            if parameter.ndim == 1:  # norms and biases away from one and zero
                parameter.add_(0.3 * torch.randn_like(parameter))
    return wide


def sizes_of(wide, sample):
    """Channels of a sample by hand: an expansion keeps its ratio to what it is made from."""
    by_name = {group.name: multiple for group, multiple in zip(wide.groups, sample.multiples)}
    stem = round(4 * by_name["stem"])
    return stem, round(6 * by_name["expand"] * stem / 4), round(5 * by_name["hidden"])


def weights_of(wide):
    return {name: p.detach().clone().requires_grad_() for name, p in wide.network.named_parameters()}


def images(seed=2):
    draw = torch.Generator().manual_seed(seed)
    return torch.randn(8, 3, 5, 5, dtype=torch.float64, generator=draw), torch.arange(8) % 3


WAYS = [
    Way("conv"), Way("shift"), Way("shift", "laplace"), Way("shift", "small_laplace"), Way("shift", "laplace", 3),
    Way("adder", None, 5), Way("adder", "laplace", 5), Way("adder", "laplace", 2),
]  # fmt: skip


@pytest.mark.parametrize("way", WAYS, ids=str)
def test_target_and_samples_compute_equations_4_and_5(way):
    wide = augmented(way)
    wide.set_mutation(min(way.mutated, len(wide.units)))
    weights, (x, _) = weights_of(wide), images()
    assert weights["expand.weight"].shape == (36, 8, 1, 1) and weights["hidden.weight"].shape == (10, 8, 1, 1)
    generator, seen = torch.Generator().manual_seed(3), set()
    for part in ("target", "full", *(wide.sample(generator) for _ in range(6))):
        sample = {"target": Sample((1.0,) * len(wide.groups)), "full": wide.full}.get(part, part)
        sizes = sizes_of(wide, sample)
        seen.add(sizes)
        torch.testing.assert_close(wide(x, part), network(weights, x, sizes, way), rtol=1e-9, atol=1e-9)
    assert len(seen) > 5, "other widths"


def smoothed(logits, labels):
    logarithms = logits.log_softmax(1)
    return -(0.9 * logarithms[range(len(labels)), labels] + 0.1 * logarithms.mean(1)).mean()


def penalties(weights, way):
    """10 KL(N(target) || N(whole layer)) of every layer that does not multiply."""
    total = 0.0
    for name, (inputs, outputs) in list(TARGET.items())[: way.mutated]:
        whole = weights[f"{name}.weight"]
        own = whole[:outputs] if name == "depthwise" else whole[:outputs, :inputs]
        mean, std = whole.detach().mean(), whole.detach().std(correction=0)
        s = own.std(correction=0)
        total = total + 10 * (torch.log(std / s) + (s**2 + (own.mean() - mean) ** 2) / (2 * std**2) - 0.5)
    return total


def gradients(weights, way, samples, alpha, share, batch):
    """Of equation 3: both losses' gradients add up; the target may learn a share from the augmented network."""
    x, labels = batch
    around = network(weights, x, samples, way)
    own = network(weights, x, (4, 6, 5), way)
    target = smoothed(own, labels)
    if share:
        p = around.detach().softmax(1)
        target = (1 - share) * target + share * (p * (p.log() - own.log_softmax(1))).sum(1).mean()
    if way.remap == "kl_only":
        target = target + penalties(weights, way)
    found = torch.autograd.grad(target + alpha * smoothed(around, labels), list(weights.values()), allow_unused=True)
    return {name: torch.zeros_like(w) if g is None else g for (name, w), g in zip(weights.items(), found)}


def adaptive(found, weights, way, eta):
    """AdderNet's rate over the target's own filters, in the weights that they compute with."""
    for name, (inputs, outputs) in list(TARGET.items())[: way.mutated]:
        part = found[f"{name}.weight"]
        part = part[:outputs] if name == "depthwise" else part[:outputs, :inputs]
        whole = weights[f"{name}.weight"].detach()
        scale = 1.0 if way.remap is None else whole.std(correction=0) / (ADDER_SCALE * math.sqrt(2))
        part.copy_(eta * math.sqrt(part.numel()) * part / part.norm() * scale)


STEPS = [
    (Way("conv"), 1.0, 0.0), (Way("conv"), 0.4, 0.3), (Way("shift", "laplace"), 1.0, 0.0),
    (Way("shift", "laplace"), 0.5, 0.9), (Way("shift", "small_laplace"), 1.0, 0.0), (Way("shift", "kl_only"), 1.0, 0.0),
    (Way("adder", None, 5), 1.0, 0.0), (Way("adder", "laplace", 5), 0.5, 0.0),
]  # fmt: skip


@pytest.mark.parametrize(("way", "alpha", "share"), STEPS, ids=str)
def test_two_steps_are_equation_3(way, alpha, share):
    """Nesterov's momentum, weight decay of filters alone, a new sample at every step, the adaptive rate of adders."""
    wide = augmented(way)
    recipe = TrainRecipe(
        epochs=1, batch_size=8, lr=0.05, schedule="constant", nesterov=True, weight_decay=0.01, label_smoothing=0.1,
        channels_last=False, adaptive="adder", eta=0.2,
    )  # fmt: skip
    asked = AugmentRecipe(alpha=alpha, distillation="kl" if share else "none", distillation_share=share)
    trainer = AugmentedTrainer(wide, recipe, augmentation=asked, examples=16, seed=0)
    trainer._samples = torch.Generator().manual_seed(4)
    draws, sizes = torch.Generator().manual_seed(4), []
    weights, momentum = weights_of(wide), {}
    for step in range(2):
        batch = images(step)
        trainer.step(Batch(*batch, 1.0))
        sizes.append(sizes_of(wide, wide.sample(draws)))
        found = gradients(weights, way, sizes[-1], alpha, share, batch)
        with torch.no_grad():
            if way.op == "adder":
                adaptive(found, weights, way, 0.2)
            for name, weight in weights.items():
                g = found[name] + (0.01 * weight if weight.ndim > 1 else 0)
                momentum[name] = g if name not in momentum else 0.9 * momentum[name] + g
                weight -= 0.05 * (g + 0.9 * momentum[name])
        for name, weight in wide.network.named_parameters():
            assert torch.allclose(weight, weights[name], rtol=1e-7, atol=1e-9), f"{name} after step {step + 1}"
    assert sizes[0] != sizes[1]


def test_a_network_in_its_window_mutates_layer_by_layer_from_the_convolutions_that_it_began_as():
    """Raw weights stay; R and rounding come with the operator."""
    wide, (x, labels) = augmented(Way("shift", "laplace")), images()
    recipe = TrainRecipe(epochs=1, batch_size=8, lr=0.05, schedule="constant", channels_last=False)
    asked = AugmentRecipe(mutation=Window(0.2, 0.8))
    trainer = AugmentedTrainer(wide, recipe, augmentation=asked, examples=40, seed=0)
    trainer._samples = torch.Generator().manual_seed(4)
    seen = []
    for _ in range(5):
        before = weights_of(wide)
        logits = {count: network(before, x, (4, 6, 5), Way("shift", "laplace", count)) for count in range(7)}
        loss, _, _ = trainer.step(Batch(x, labels, 1.0))
        found = {count: functional.cross_entropy(each, labels).item() for count, each in logits.items()}
        seen.append([count for count, each in found.items() if each == pytest.approx(loss, rel=1e-9)])
    # Shares 0, 0.2, 0.4, 0.6 and 0.8 of the steps: none, then 1 + floor((share - 0.2) / 0.6 x 5).
    assert seen == [[0], [1], [2], [4], [6]]
