"""Layers and costs of any inverted-residual network by table lookup, for searches.

A block's layers depend on its own numbers, its operators and the size of its input. Each kind of block is traced once,
in the first network that has it; the layers of other networks are put together from what is known.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from repro.cost.counting import CONVENTIONS, layer_operations
from repro.cost.model import layers_cost
from repro.cost.skeleton import skeleton
from repro.errors import check_choice, check_int
from repro.models.build import Builder, Operator
from repro.models.mobile import KEEP, MobileSpec
from repro.models.trace import Layer, trace

_BLOCK = {"expand": "pointwise", "depthwise": "depthwise", "project": "pointwise", "se": "se", "shortcut": "shortcut"}
_ENDS = {"stem": ("stem", "conv"), "head": ("head", "conv"), "hidden": ("head", ""), "classifier": ("classifier", "")}


class MobileCosts:
    """Prices networks of `repro.models.mobile` for one size of image.

    Args:
        side: of the image in pixels.  in_channels, num_classes: of the network.
        convention: of the counts (`repro.cost.CONVENTIONS`).  accounting: of energy and latency (`layers_cost`).
    """

    def __init__(
        self,
        side: int,
        *,
        in_channels: int = 3,
        num_classes: int = 10,
        convention: str = "plain",
        accounting: str = "published",
    ):
        self.side = check_int("side", side, minimum=1)
        self.shape = {"in_channels": in_channels, "num_classes": num_classes}
        self.convention = CONVENTIONS[check_choice("convention", convention, CONVENTIONS)]
        self.accounting = accounting
        self._known: dict[tuple, list[Layer]] = {}

    def layers(self, spec: MobileSpec, op: Operator = "conv") -> list[Layer]:
        """Layers of a network in the order in which they run; what `repro.models.trace.trace` finds.

        Args:
            op: operator by name, or a mapping from layer names to operators (`repro.models.build`).
        """
        found, side = [], self.side
        for prefix, key in self._parts(spec, op):
            if (key, side) not in self._known:
                self._trace(spec, op)
            part = self._known[key, side]
            found += [replace(layer, name=prefix + layer.name) for layer in part]
            side = part[-1].out_height
        return found

    def costs(self, spec: MobileSpec, op: Operator = "conv") -> dict[str, float]:
        """{"energy_mj", "latency_ms", "mults", "shifts", "adds", "macs"} of one image."""
        layers = self.layers(spec, op)
        cost = layers_cost(layers, accounting=self.accounting)
        bias = self.convention.bias_ops and not any(layer.op == "adder" for layer in layers)
        counted = [layer_operations(layer, self.convention, bias_ops=bias) for layer in layers]
        sums = {name: sum(each[name] for each in counted) for name in ("mults", "shifts", "adds", "macs")}
        return {"energy_mj": cost.energy_mj, "latency_ms": cost.latency_ms, **sums}

    def table(self, networks: Sequence[tuple[MobileSpec, Operator]]) -> Mapping[str, list[float]]:
        """`costs` of several networks, one list for each cost."""
        rows = [self.costs(spec, op) for spec, op in networks]
        return {name: [row[name] for row in rows] for name in rows[0]}

    # ------------------------------------------------------------------ parts

    @staticmethod
    def _parts(spec: MobileSpec, op: Operator) -> list[tuple[str, tuple]]:
        """(prefix of its layers' names, what its layers depend on besides the side) of each part in order."""
        build = Builder(op, keep=KEEP.get(op, ()) if isinstance(op, str) else None)

        def end(name: str, *numbers) -> tuple[str, tuple]:
            role, inner = _ENDS[name]
            operator = build.at(name).operator(inner, role) if inner else build.operator(name, role)
            return "", (name, operator, *numbers)

        parts = [end("stem", spec.stem, spec.stem_stride)]
        for index, block in enumerate(spec.blocks):
            ops = tuple(
                build.at("blocks", index, name).operator("reduce" if name == "se" else "conv", role)
                for name, role in _BLOCK.items()
            )
            parts.append((f"blocks.{index}.", ("block", ops, replace(block, stage=0))))
        channels = spec.blocks[-1].out
        if spec.head:
            parts.append(end("head", channels, spec.head))
            channels = spec.head
        if spec.hidden:
            parts.append(end("hidden", channels, spec.hidden))
        return [*parts, end("classifier", spec.hidden or channels)]

    def _trace(self, spec: MobileSpec, op: Operator) -> None:
        """Trace a whole network and keep the layers of every part."""
        network = skeleton("mobilenet_v2", op=op, spec=spec, **self.shape)
        layers = trace(network, (self.shape["in_channels"], self.side, self.side))
        side = self.side
        for prefix, key in self._parts(spec, op):
            start = prefix or key[0]
            mine = [layer for layer in layers if layer.name.startswith(start)]
            self._known[key, side] = [replace(layer, name=layer.name.removeprefix(prefix)) for layer in mine]
            side = mine[-1].out_height
