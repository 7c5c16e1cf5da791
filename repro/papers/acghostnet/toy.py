"""The two toy spaces of ACGhostNet: two layers of 3x3 or 5x5 (table 3), and six ghost blocks, AAg1 or CCg1 (table 6).

Each has a supernet and, for every path, a standalone network (of six blocks: `create("acghostnet", choices=path)`);
`supernet.subnet(path)` has the standalone's structure.
The paper gives neither width nor skeleton of the two-layer network; ours is stated at `two_layer_network`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from torch import nn

from repro.errors import InputError, check_choice
from repro.layers import make_conv2d
from repro.papers.acghostnet.supernet import ghost_supernet
from repro.search.space import SearchSpace
from repro.search.supernet import ChoiceBlock, Path, SinglePathSupernet, Slot, first_letters

TWO_LAYER_OPTIONS = {"adder": ("a3", "a5"), "conv": ("c3", "c5")}
SIX_BLOCK_OPTIONS = ("AAg1", "CCg1")


def two_layer_space(family: str) -> SearchSpace:
    """{a3, a5}^2 or {c3, c5}^2: four paths."""
    check_choice("family", family, TWO_LAYER_OPTIONS)
    return SearchSpace([TWO_LAYER_OPTIONS[family]] * 2)


def six_block_space() -> SearchSpace:
    """{AAg1, CCg1}^6: 64 paths."""
    return SearchSpace([SIX_BLOCK_OPTIONS] * 6)


def _unit(option: str, in_channels: int, out_channels: int) -> nn.Sequential:
    """k x k operation with stride 2, batch norm, ReLU; option a3, a5, c3 or c5."""
    check_choice("option", option, ("a3", "a5", "c3", "c5"))
    op, kernel_size = {"a": "adder", "c": "conv"}[option[0]], int(option[1])
    conv = make_conv2d(op, in_channels, out_channels, kernel_size, stride=2, padding=kernel_size // 2, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(out_channels), nn.ReLU(inplace=True))


def _two_layers(
    make: Callable[[int, int, int], nn.Module], width: int, in_channels: int, num_classes: int
) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(in_channels, width, 3, padding=1, bias=False),
        nn.BatchNorm2d(width),
        nn.ReLU(inplace=True),
        make(0, width, 2 * width),
        make(1, 2 * width, 4 * width),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(4 * width, num_classes),
    )


def two_layer_network(
    path: Sequence[str], *, width: int = 16, in_channels: int = 3, num_classes: int = 10
) -> nn.Sequential:
    """A standalone network of table 3: 3x3 convolution to `width` channels, the two searched layers with stride 2 to
    2 and 4 times `width`, average pooling, linear classifier. First and last layer multiply, as in AdderNet."""
    if len(path) != 2:
        raise InputError(f"path={path!r} is not allowed; it must name two layers, for example ('a3', 'a5').")
    return _two_layers(lambda i, a, b: _unit(path[i], a, b), width, in_channels, num_classes)


def two_layer_supernet(
    family: str, *, width: int = 16, in_channels: int = 3, num_classes: int = 10
) -> SinglePathSupernet:
    """The supernet of {a3, a5} (family "adder") or {c3, c5} ("conv") for both layers."""
    options = TWO_LAYER_OPTIONS[check_choice("family", family, TWO_LAYER_OPTIONS)]
    blocks = []

    def make(_, in_width: int, out_width: int) -> ChoiceBlock:
        blocks.append(ChoiceBlock({option: _unit(option, in_width, out_width) for option in options}))
        return blocks[-1]

    network = _two_layers(make, width, in_channels, num_classes)
    return SinglePathSupernet(network, [Slot.of(block) for block in blocks])


SIX_BLOCK_FORM = {"blocks": "toy", "form": "cifar", "dropout": 0.0}
"""Options of `create("acghostnet")`: one block per stage; stem and first 24-channel block keep their resolution."""


def six_block_supernet(**options) -> SinglePathSupernet:
    """The supernet over {AAg1, CCg1}^6; `options` as `repro.models.create("acghostnet")` takes, form as above."""
    return ghost_supernet(SIX_BLOCK_OPTIONS, **SIX_BLOCK_FORM, **options)


def six_block_path(letters: str) -> Path:
    """("AAg1", "CCg1", …) of "AC…"."""
    return tuple({"A": "AAg1", "C": "CCg1"}[letter] for letter in letters)


def six_block_letters() -> tuple[str, ...]:
    """The 64 paths as letters, from all convolution to all adder."""
    return tuple(sorted((first_letters(path) for path in six_block_space().all_paths()), reverse=True))


def spread_letters(count: int) -> tuple[str, ...]:
    """`count` of the 64 that cover the adder ratios evenly: for presets that cannot train all."""
    by_ratio = sorted(six_block_letters(), key=lambda path: (path.count("A"), path))
    step = (len(by_ratio) - 1) / (count - 1)
    return tuple(by_ratio[round(i * step)] for i in range(count))
