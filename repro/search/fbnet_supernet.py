"""The FBNet space with an operator per block, and its supernet, one path at a time.

A path names a block for every place, as `repro.models.fbnet` writes it: "k5_e3:shift", or "skip" where the shape stays.
Each place holds every kind of block (kernel, expansion, groups) with weights of its own, as FBNet has them; the
operators of a kind share its three filters in one of the ways of `repro.search.weight_sharing`. Norms belong to an
operator. The last norm of a residual block starts with gamma 0.

    space = FBNetSpace(((16, 2, 1), (24, 2, 2)), kinds=("k3_e1", "k3_e3"), head=64)
    supernet = FBNetSupernet(space, WeightSharing(), in_channels=1, num_classes=10)
    fit_paths(supernet, train, recipe, seed=0)
    evaluate_paths(supernet, paths, held_out, calibration=train)

Trained and judged like a `HybridSupernet`, which it is but for its layers.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from repro.errors import InputError, check_choice
from repro.models.build import Builder, init_weights
from repro.models.fbnet import KINDS, STEM, FBBlock, FBNet, Stage, parse_block, shapes_of, stages_of
from repro.models.registry import create
from repro.search.hybrid_supernet import HybridSupernet, SharedCell
from repro.search.space import SearchSpace
from repro.search.supernet import Path
from repro.search.weight_sharing import WeightSharing

OPERATORS = ("conv", "shift", "adder")
SKIP = "skip"
FILTERS = ("expand", "depthwise", "project")
"""Convolutions of a block whose filters may be shared."""


@dataclasses.dataclass(frozen=True)
class FBNetSpace:
    """Networks of blocks of chosen kind and operator.

    Attributes:
        stages: (channels, multiples of 8; blocks; stride of the first) of each; FBNet's on CIFAR by default.
        kinds: of blocks, from `repro.models.fbnet.KINDS`.
        operators: of blocks.
        head: channels of the 1x1 behind the blocks.
    Raises: InputError for an unknown kind or operator, or a place without a choice.
    """

    stages: tuple[Stage, ...] = stages_of("cifar")
    kinds: tuple[str, ...] = KINDS
    operators: tuple[str, ...] = OPERATORS
    head: int = 1504

    def __post_init__(self):
        for kind in self.kinds:
            check_choice("kinds", kind, KINDS)
        for operator in self.operators:
            check_choice("operators", operator, OPERATORS)
        if not self.operators or not set(self.kinds) - {SKIP}:
            raise InputError(
                f"kinds={self.kinds!r} with operators={self.operators!r} is not allowed; a block needs one."
            )

    @functools.cached_property
    def shapes(self) -> list[tuple[int, int, int]]:
        """(channels in, channels out, stride) of every place."""
        return shapes_of(self.stages, STEM)

    @functools.cached_property
    def paths(self) -> SearchSpace:
        """The choices of every place, for `evolve` and for drawing paths."""
        blocks = [f"{kind}:{operator}" for kind in self.kinds if kind != SKIP for operator in self.operators]
        keeps = [stride == 1 and before == after for before, after, stride in self.shapes]
        return SearchSpace([[*blocks, SKIP] if same and SKIP in self.kinds else blocks for same in keeps])

    def check(self, path: Sequence[str]) -> Path:
        """Return `path` as a tuple if it lies in this space. Raises: InputError."""
        return self.paths.check(path)

    def sample(self, generator: torch.Generator) -> Path:
        """A path drawn uniformly from all."""
        return self.paths.sample(generator)

    def options(self, path: Sequence[str]) -> dict[str, Any]:
        """What `create("fbnet", …)` takes for the network of a path."""
        return {"choices": self.check(path), "stages": self.stages, "head": self.head}


class _Choice(FBBlock):
    """A block that tells which filters may be shared."""

    def forward(self, x: Tensor, entrance: None = None) -> Tensor:
        return super().forward(x)

    def filters(self) -> dict[str, nn.Module]:
        """Layers whose filters may be shared, by name."""
        return {f"{name}.conv": getattr(self, name).conv for name in FILTERS}


class _KindCell(SharedCell):
    """All operators of one kind of block at one place, and the filters that they share."""

    def __init__(self, kind: str, shape: tuple[int, int, int], operators: Sequence[str]):
        nn.Module.__init__(self)
        self.choices = nn.ModuleDict({name: _Choice(Builder(), kind, *shape, name) for name in operators})
        self.pool = nn.ParameterDict()
        self.kernels = nn.ModuleDict()


class FBNetSupernet(HybridSupernet):
    """All paths of a space in one set of weights.

    Args:
        sharing: what operators share; `WeightSharing(shared=False)` nothing.
        form: "cifar", the stem keeps the size of the image, or "imagenet", it halves it.
    """

    def __init__(
        self, space: FBNetSpace, sharing: WeightSharing, *, in_channels: int, num_classes: int, form: str = "cifar"
    ):
        nn.Module.__init__(self)
        self.space: FBNetSpace  # type: ignore[assignment]
        self.space, self.sharing = space, sharing
        self._shape: dict[str, Any] = {"in_channels": in_channels, "num_classes": num_classes, "form": form}
        first = tuple(options[0] for options in space.paths.blocks)
        self.ends = self._network(first)
        self.ends.blocks = nn.Identity()
        kinds = [kind for kind in space.kinds if kind != SKIP]
        self.layers = nn.ModuleList(
            nn.ModuleDict({kind: _KindCell(kind, shape, space.operators) for kind in kinds}) for shape in space.shapes
        )
        init_weights(self)
        cells = [cell for layer in self.layers for cell in layer.values()]
        for cell in cells:
            for block in cell.choices.values():
                if block.residual:
                    nn.init.zeros_(block.project.norm.weight)
            if sharing.shared:
                cell.share(sharing)
        self.set_path(first)

    def _network(self, path: Path) -> FBNet:
        return create("fbnet", **self.space.options(path), **self._shape)

    def cell(self, layer: int, block: str) -> tuple[_KindCell, str]:
        """The cell that holds a block of a path, which is no skip, and the block's operator."""
        kind, operator = parse_block(block)
        return self.layers[layer][kind], operator  # type: ignore[return-value]

    def _active(self, path: Path) -> Iterator[tuple[_KindCell, str, None]]:
        for layer, block in enumerate(path):
            if block != SKIP:
                yield *self.cell(layer, block), None

    def forward(self, x: Tensor) -> Tensor:
        """Scores (N, classes) of images (N, C, H, W)."""
        ends = self.ends
        return ends.classifier(ends.head(self._through(ends.stem(x))).mean((2, 3)))

    @torch.no_grad()
    def subnet(self, path: Sequence[str]) -> FBNet:
        """The network of a path by itself, weights copied; it computes what this one does on that path."""
        path = self.space.check(path)
        with torch.random.fork_rng(devices=[]):
            network = self._network(path).to(self.ends.classifier.weight)
        known = dict(self.ends.state_dict())
        for layer, block in enumerate(path):
            if block != SKIP:
                known |= {f"blocks.{layer}.{name}": tensor for name, tensor in self._state(layer, block).items()}
        network.load_state_dict(known)
        return network.train(self.training)

    def _state(self, layer: int, block: str) -> Mapping[str, Tensor]:
        cell, operator = self.cell(layer, block)
        shared = {f"{name}.weight": weight for name, weight in cell.filters(operator).items()}
        return cell.choices[operator].state_dict() | shared
