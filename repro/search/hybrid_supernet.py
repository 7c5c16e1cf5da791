"""A supernet of attention, convolution, shift and adder blocks at several resolutions, one path at a time.

Every layer holds, for each resolution that it may have, a bottleneck of each operator: 1x1, depthwise 3x3 (the
position encoding), 3x3, 1x1, around a shortcut. Its two entrances take maps of the same resolution or of the next finer
one. What is shared (`repro.search.weight_sharing`) are the filters but the depthwise ones; depthwise filters and norms
belong to an operator, and attention shares nothing. The last norm of every block starts with gamma 0. Started with 1,
all else equal, own weights hardly train, and weights shared through T train worse; table 6 of ShiftAddNAS has both as
controls. So a network begins as its shortcuts alone, and what projects a shortcut onto another shape carries the whole
signal: in an adder block that is an adder, as in the public code, or a convolution with `projection="conv"`.

    space = HybridSpace((Level(8, 3, 3, stride=1), Level(16, 3, 3)), layers=6)
    supernet = HybridSupernet(space, WeightSharing(), in_channels=1, num_classes=10)
    fit_paths(supernet, train, recipe, seed=0)
    evaluate_paths(supernet, paths, held_out, calibration=train)

Differs from the public code (ShiftAddNAS), whatever the way of sharing: attention is the block of the retrained
networks, with filters of its own for each entrance, and a block that changes nothing in shape has no filters on its
shortcut. Shift layers round the pool and send it their gradient; there they round a second T of a detached pool. The
divergence is the mean over a path's tensors times its weight; there ten times the sum. Adder layers' gradients are not
rescaled; there they are, with eta 0.2 (AdderNet).
"""

from __future__ import annotations

import abc
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path as FilePath
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from repro.augment.train import decayed_parameters
from repro.errors import InputError, check_choice, check_number
from repro.layers import AdderConv2d
from repro.models.build import Builder, init_weights
from repro.models.shiftaddnas import BLOCKS, AttentionBlock
from repro.search.hybrid_space import OUT, HybridSpace, Level
from repro.search.supernet import Path
from repro.search.weight_sharing import WeightSharing
from repro.train.data import generator_for
from repro.train.distributed import over_processes
from repro.train.loop import History, Trainer, fit
from repro.train.recipe import TrainRecipe

SAME, FINER = "same", "finer"
"""Where a block's input comes from: a block of its resolution, or one of the next finer one (or the stem)."""
PROJECTIONS = ("operator", "conv")
"""What projects the shortcuts of adder blocks."""
Entrances = Mapping[str, tuple[int, int]]
"""Entrance -> (channels, stride)."""


class Entrance(nn.Module):
    """1x1, depthwise 3x3 with the stride, norm, ReLU; and the projection of the shortcut where the shape changes.

    (N, C_in, H, W) -> (N, planes, H / stride, W / stride) and (N, 4 planes, H / stride, W / stride).
    """

    def __init__(self, build: Builder, channels: int, planes: int, stride: int, op: str, projection: str):
        super().__init__()
        self.reduce = build.conv("reduce", "pointwise", channels, planes, 1, op=op)
        self.position = build.conv_norm(
            "position", "position", planes, planes, 3, stride=stride, groups=planes, op=op, act="relu"
        )
        self.shortcut = None
        if stride > 1 or channels != OUT * planes:
            size = 3 if stride > 1 else 1
            projecting = "conv" if op == "adder" and projection == "conv" else op
            self.shortcut = build.conv_norm(
                "shortcut", "shortcut", channels, OUT * planes, size, stride=stride, op=projecting
            )

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return self.position(self.reduce(x)), x if self.shortcut is None else self.shortcut(x)

    def filters(self) -> dict[str, nn.Module]:
        """Layers whose filters may be shared, by name."""
        shortcut = {} if self.shortcut is None else {"shortcut.conv": self.shortcut.conv}
        return {"reduce": self.reduce, **shortcut}


class HybridBlock(nn.Module):
    """Bottleneck of one operator, with one or both entrances."""

    def __init__(self, build: Builder, op: str, entrances: Entrances, planes: int, projection: str):
        super().__init__()
        made = {
            name: Entrance(build.at("enter", name), channels, planes, stride, op, projection)
            for name, (channels, stride) in entrances.items()
        }
        self.enter = nn.ModuleDict(made)
        self.conv = build.conv_norm("conv", "conv", planes, planes, 3, op=op, act="relu")
        self.leave = build.conv_norm("leave", "pointwise", planes, OUT * planes, 1, op=op)

    def forward(self, x: Tensor, entrance: str) -> Tensor:
        y, shortcut = self.enter[entrance](x)
        return torch.relu(self.leave(self.conv(y)) + shortcut)

    def filters(self) -> dict[str, nn.Module]:
        """Layers whose filters may be shared, by name."""
        entering = {
            f"enter.{name}.{part}": layer
            for name, entrance in self.enter.items()
            for part, layer in entrance.filters().items()
        }
        return {**entering, "conv.conv": self.conv.conv, "leave.conv": self.leave.conv}


class AttentionChoice(nn.Module):
    """An attention block for each entrance; they share nothing."""

    def __init__(self, build: Builder, entrances: Entrances, planes: int, heads: int):
        super().__init__()
        made = {
            name: AttentionBlock(build.at("enter", name), channels, planes, stride, heads)
            for name, (channels, stride) in entrances.items()
        }
        self.enter = nn.ModuleDict(made)

    def forward(self, x: Tensor, entrance: str) -> Tensor:
        return self.enter[entrance](x)

    def filters(self) -> dict[str, nn.Module]:
        """None may be shared."""
        return {}


def make_choice(
    build: Builder, letter: str, entrances: Entrances, level: Level, projection: str = "operator"
) -> HybridBlock | AttentionChoice:
    """The block of a letter at a resolution; `projection` as in `HybridSupernet`."""
    if BLOCKS[letter] == "attention":
        return AttentionChoice(build, entrances, level.planes, level.heads)
    return HybridBlock(build, BLOCKS[letter], entrances, level.planes, projection)


class _Hybrid(nn.Module, abc.ABC):
    """Stem, blocks of any kind, average pooling, classifier."""

    def __init__(self, space: HybridSpace, in_channels: int, num_classes: int, form: str, projection: str):
        super().__init__()
        check_choice("form", form, ("cifar", "imagenet"))
        check_choice("projection", projection, PROJECTIONS)
        self.projection = projection
        build, self.space = Builder(), space
        kernel, stride = (7, 2) if form == "imagenet" else (3, 1)
        channels = space.levels[0].planes
        self.stem = build.conv_norm("stem", "stem", in_channels, channels, kernel, stride=stride, act="relu")
        self.pool = nn.MaxPool2d(3, 2, 1) if form == "imagenet" else nn.Identity()
        self._shape: dict[str, Any] = {
            "in_channels": in_channels,
            "num_classes": num_classes,
            "form": form,
            "projection": projection,
        }
        self.classifier = build.linear("classifier", "classifier", OUT * space.levels[-1].planes, num_classes)

    def _entrances(self, level: int, first: Sequence[bool]) -> dict[str, tuple[int, int]]:
        """Entrances of blocks at a resolution, `first` whether they may be its first."""
        levels = self.space.levels
        finer = levels[0].planes if level == 0 else OUT * levels[level - 1].planes
        forms = {False: (OUT * levels[level].planes, 1), True: (finer, levels[level].stride)}
        return {FINER if each else SAME: forms[each] for each in first}

    def _start(self, last_gamma: float = 0.0) -> None:
        """Weights before training; `last_gamma` of every block's last norm."""
        init_weights(self)
        for module in self.modules():
            if isinstance(module, HybridBlock | AttentionBlock):
                nn.init.constant_(module.leave.norm.weight, last_gamma)

    @abc.abstractmethod
    def _through(self, x: Tensor) -> Tensor:
        """Output of the last block."""

    def forward(self, x: Tensor) -> Tensor:
        """Scores (N, classes) of images (N, C, H, W)."""
        return self.classifier(self._through(self.pool(self.stem(x))).mean((2, 3)))


def entrances_of(path: Path) -> list[str]:
    """The entrance that each block of a path takes its input by."""
    return [SAME if place and path[place - 1][:-1] == block[:-1] else FINER for place, block in enumerate(path)]


class HybridNetwork(_Hybrid):
    """The network that one path stands for, by itself: ordinary layers with weights of their own.

    Args:
        path: see `HybridSpace.check`.
        form: "cifar" (3x3 stem) or "imagenet" (7x7 with stride 2 and pooling).
        projection: as in `HybridSupernet`.
    """

    def __init__(
        self,
        space: HybridSpace,
        path: Sequence[str],
        *,
        in_channels: int,
        num_classes: int,
        form: str = "cifar",
        projection: str = "operator",
    ):
        super().__init__(space, in_channels, num_classes, form, projection)
        self.path = space.check(path)
        blocks = []
        for layer, (block, entrance) in enumerate(zip(self.path, entrances_of(self.path))):
            level = int(block[:-1])
            entrances = self._entrances(level, [entrance == FINER])
            build = Builder().at("blocks", layer)
            blocks.append(make_choice(build, block[-1], entrances, space.levels[level], projection))
        self.blocks = nn.ModuleList(blocks)
        self._start()

    def _through(self, x: Tensor) -> Tensor:
        for block, entrance in zip(self.blocks, entrances_of(self.path)):
            x = block(x, entrance)
        return x


class SharedCell(nn.Module):
    """All choices of one layer at one resolution, and the filters that they share."""

    def __init__(self, build: Builder, entrances: Entrances, level: Level, projection: str = "operator"):
        super().__init__()
        made = {BLOCKS[letter]: make_choice(build, letter, entrances, level, projection) for letter in level.operators}
        self.choices = nn.ModuleDict(made)
        self.pool = nn.ParameterDict()
        self.kernels = nn.ModuleDict()

    def share(self, sharing: WeightSharing) -> None:
        """Take the filters of all choices that have such away and put a common pool in their place."""
        for choice in self.choices.values():
            for name, layer in choice.filters().items():
                key = name.replace(".", "_")
                if key not in self.pool:
                    self.pool[key] = sharing.pool_tensor(tuple(layer.weight.shape))
                kernel = sharing.kernel(self.pool[key]) if isinstance(layer, AdderConv2d) else None
                if kernel is not None:
                    self.kernels[key] = kernel
                layer.register_parameter("weight", None)

    def layers(self, operator: str, entrance: str | None = None) -> dict[str, nn.Module]:
        """Layers of an operator whose filters may be shared, by name, of one entrance or of both."""
        return {
            name: layer
            for name, layer in self.choices[operator].filters().items()
            if entrance is None or not name.startswith("enter.") or name.split(".")[1] == entrance
        }

    def filters(self, operator: str, entrance: str | None = None) -> dict[str, Tensor]:
        """{layer: what it computes with, before any rounding}; arguments as `layers`."""
        found = {}
        for name, layer in self.layers(operator, entrance).items():
            key = name.replace(".", "_")
            shared = self.pool[key] if key in self.pool else layer.weight
            kernel = self.kernels[key] if isinstance(layer, AdderConv2d) and key in self.kernels else None
            found[name] = shared if kernel is None else kernel(shared)
        return found


class HybridSupernet(_Hybrid):
    """All paths of a space in one set of weights.

    Args:
        sharing: what operators share; `WeightSharing(shared=False)` nothing.
        in_channels, num_classes, form: as in `HybridNetwork`.
        last_gamma: what the last norm of every block starts with; at 0 a block begins as its shortcut alone.
        projection: what projects the shortcuts of adder blocks onto another shape: their own "operator", or "conv".
    """

    def __init__(
        self,
        space: HybridSpace,
        sharing: WeightSharing,
        *,
        in_channels: int,
        num_classes: int,
        form: str = "cifar",
        last_gamma: float = 0.0,
        projection: str = "operator",
    ):
        super().__init__(space, in_channels, num_classes, form, projection)
        self.sharing = sharing
        layers = []
        for layer in range(space.layers):
            cells = {
                str(level): SharedCell(Builder(), self._entrances(level, first), space.levels[level], projection)
                for level, first in space.places(layer).items()
            }
            layers.append(nn.ModuleDict(cells))
        self.layers = nn.ModuleList(layers)
        self._start(check_number("last_gamma", last_gamma, minimum=0))
        if sharing.shared:
            for cells in self.layers:
                for cell in cells.values():
                    cell.share(sharing)
        self.set_path(next(space.all_paths()))

    def set_path(self, path: Sequence[str]) -> Path:
        """Make `path` the one that runs from now on. Raises: InputError as `HybridSpace.check`."""
        self.path = self.space.check(path)
        return self.path

    def cell(self, layer: int, block: str) -> tuple[SharedCell, str]:
        """The cell that holds a block of a path, and the block's operator."""
        return self.layers[layer][block[:-1]], BLOCKS[block[-1]]

    def _active(self, path: Path):
        for layer, (block, entrance) in enumerate(zip(path, entrances_of(path))):
            cell, operator = self.cell(layer, block)
            yield cell, operator, entrance

    def _through(self, x: Tensor) -> Tensor:
        for cell, operator, entrance in self._active(self.path):
            weights = {f"{name}.weight": w for name, w in cell.filters(operator, entrance).items()}
            x = functional_call(cell.choices[operator], weights, (x, entrance))
        return x

    def divergence(self) -> Tensor | None:
        """The active path's part of the loss, weighted, 0-dimensional; None where the sharing has none."""
        if not self.sharing.shared or self.sharing.divergence == "none":
            return None
        terms = []
        for cell, operator, entrance in self._active(self.path):
            layers = cell.layers(operator, entrance)
            for name, weight in cell.filters(operator, entrance).items():
                projects = operator == "adder" and not isinstance(layers[name], AdderConv2d)
                terms.append(self.sharing.term(weight, "conv" if projects else operator))
        terms = [term for term in terms if term is not None]
        return self.sharing.weight * torch.stack(terms).mean() if terms else None

    @torch.no_grad()
    def subnet(self, path: Sequence[str]) -> HybridNetwork:
        """The network of a path by itself, weights copied; it computes what this one does on that path."""
        path = self.space.check(path)
        with torch.random.fork_rng(devices=[]):
            network = HybridNetwork(self.space, path, **self._shape).to(self.classifier.weight)
        known = {
            name: tensor for name, tensor in self.state_dict().items() if name.startswith(("stem.", "classifier."))
        }
        for layer, (cell, operator, entrance) in enumerate(self._active(path)):
            state = cell.choices[operator].state_dict()
            state |= {f"{name}.weight": weight for name, weight in cell.filters(operator, entrance).items()}
            wanted = network.blocks[layer].state_dict()
            known |= {f"blocks.{layer}.{name}": state[name] for name in wanted}
        network.load_state_dict(known)
        return network.train(self.training)


class PathTrainer(Trainer):
    """AdamW on any network or on a supernet, of which every step draws a path; norms and factors are not decayed.

    Raises: InputError for a recipe with another optimiser than "adam" (which stands for AdamW), or the adaptive rate.
    """

    def __init__(self, model: nn.Module, recipe: TrainRecipe, **options):
        super().__init__(model, recipe, **options)
        if recipe.optimizer != "adam" or recipe.adaptive != "none":
            raise InputError(
                f"optimizer={recipe.optimizer!r} with adaptive={recipe.adaptive!r} is not allowed; paths are trained "
                "with 'adam' (decoupled decay) and 'none'."
            )
        groups = decayed_parameters(model, recipe.weight_decay)
        self.optimizer = torch.optim.AdamW(groups, lr=recipe.lr)
        self._sampled = isinstance(model, HybridSupernet)

    def epoch(self, data, epoch: int, **options) -> dict[str, float]:
        """As `Trainer.epoch`; which paths learn depends on seed and epoch alone."""
        if self._sampled:
            generator = generator_for("paths", self.seed, epoch)
            options = {"before_step": lambda _: self.model.set_path(self.model.space.sample(generator)), **options}
        return super().epoch(data, epoch, **options)

    def _check(self, loss: float, images: Tensor) -> None:
        """Add the divergence's gradient to that of the cross-entropy; then as `Trainer`."""
        divergence = self.model.divergence() if self._sampled else None
        if divergence is not None and divergence.requires_grad:  # not where pools are frozen
            divergence.backward()
        super()._check(loss, images)

    def save(self, path: str | FilePath, identity: dict, **progress) -> None:
        """As `Trainer.save`."""
        super().save(path, identity | self._identity, **progress)

    def resume(self, path: str | FilePath | None, identity: dict) -> dict:
        """As `Trainer.resume`."""
        return super().resume(path, identity | self._identity)

    @property
    def _identity(self) -> dict:
        about = {"projection": self.model.projection} if hasattr(self.model, "projection") else {}
        if self._sampled:
            return about | {"sharing": asdict(self.model.sharing)}
        return about | ({"path": "-".join(self.model.path)} if hasattr(self.model, "path") else {})


def fit_paths(
    model: nn.Module,
    train_data,
    recipe: TrainRecipe,
    *,
    seed: int,
    on_epoch: Callable[[dict], object] | None = None,
    checkpoint: str | FilePath | None = None,
    stop_after: int | None = None,
) -> History:
    """Train a supernet, or a network by itself, in place; see `PathTrainer` and `repro.train.fit`."""
    options: dict[str, Any] = {"on_epoch": on_epoch, "checkpoint": checkpoint, "stop_after": stop_after}
    return fit(model, train_data, None, recipe, seed=seed, trainer_class=over_processes(PathTrainer), **options)
