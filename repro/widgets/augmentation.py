"""What network augmentation costs: the training network beside the one that is deployed. Nothing is trained."""

from __future__ import annotations

import functools
from dataclasses import dataclass, replace

from repro.augment import augment
from repro.augment.costs import macs, mean_macs
from repro.cost.skeleton import skeleton
from repro.errors import check_choice
from repro.widgets import design
from repro.widgets.design import Chip, Network

MODELS = ("mobilenet_v2", "mobilenet_v2_tiny", "mobilenet_v3_large", "mcunet_in3", "proxylessnas_mobile")
OPERATORS = ("shift", "adder", "conv")


@dataclass(frozen=True)
class Plan:
    """A target and the network around it: operator of the target, largest multiples, extra blocks behind each stage."""

    network: Network
    op: str = "shift"
    width: float = 2.2
    expand: float = 2.2
    depth: int = 0


@functools.lru_cache(maxsize=256)
def augmentation_cost(plan: Plan) -> dict[str, float]:
    """What a plan costs, of one image.

    Returns: params and training_params (of the widest network); macs, of the deployed network, mean_macs, of the
        networks drawn around it, and widest_macs; step, the multiply-accumulates of both passes of an augmented step
        over those of a step of the target by itself; energy_mj and multiplicative_mj, modelled, of the deployed network
        and of the same with convolutions.
    Raises: InputError for an unknown model or operator, multiples below 1, or a model that cannot be followed.
    """
    check_choice("model", plan.network.model, MODELS)
    check_choice("operator", plan.op, OPERATORS)
    _, layers = design.traced(replace(plan.network, preset="conv"))
    pixels = {layer.name: layer.out_height * layer.out_width for layer in layers}
    name, classes = plan.network.model, plan.network.num_classes
    target = skeleton(name, num_classes=classes, width=plan.network.width)
    whole = augment(target, width=plan.width, expand=plan.expand, depth=plan.depth, op=plan.op)
    own, drawn = sum(layer.taps for layer in layers), mean_macs(whole, pixels)
    counts = whole.parameter_counts()
    energy = {
        op: design.priced(design.traced(replace(plan.network, preset=op))[1], Chip()).energy_mj
        for op in {plan.op, "conv"}
    }
    return {
        "params": counts["deployed"],
        "training_params": counts["training"],
        "macs": own,
        "mean_macs": drawn,
        "widest_macs": macs(whole, pixels, whole.full),
        "step": (own + drawn) / own,
        "energy_mj": energy[plan.op],
        "multiplicative_mj": energy["conv"],
    }
