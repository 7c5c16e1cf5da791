"""The ways of training that the tables of ShiftAddAug compare, by name."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from repro.augment import Window
from repro.augment.remapping import ADDER_SCALE


@dataclasses.dataclass(frozen=True)
class Method:
    """How one target network is trained.

    Attributes:
        op: operator of the target.
        around: operator of the network around it, "conv" or "same" as the target's; None trains the target alone.
        remap: R of equation 5 by name (`repro.augment.REMAPPINGS`), None without heterogeneous weight sharing.
        adder_scale: b of the Laplace distribution of adder weights, one or by layer name; None is measured, on the
            network that adders trained by themselves (`comparing.train_all`), or else that of adder layers' own start.
        reorder: important channels come into the target at every epoch, which Sec. 3.3 calls weight sharing.
        depth: extra blocks behind each stage.  mutation: when the target turns multiplication-free, block by block.
        distillation, distillation_share: the supplement's table 1; see `repro.augment.AugmentRecipe`.
        own_start: start as the operator's layers do by themselves, not as the target part of the wide network.
        epochs: multiple of the recipe's epochs.
    """

    op: str = "conv"
    around: str | None = None
    remap: str | None = None
    adder_scale: float | Mapping[str, float] | None = None
    reorder: bool = True
    depth: int = 0
    mutation: Window | None = None
    distillation: str = "none"
    distillation_share: float = 0.0
    own_start: bool = False
    epochs: int = 1


BASE = Method("conv")
SHIFT = Method("shift")
ADD = Method("adder")
NETAUG = Method("conv", around="conv")
AUGSHIFT = Method("shift", around="conv", remap="laplace")
AUGADD = Method("adder", around="conv", remap="laplace")
HYBRID = Method("shift", around="conv")
SHIFT_AROUND_SHIFT = Method("shift", around="same")

MAIN = {"Base": BASE, "NetAug": NETAUG, "Shift": SHIFT, "AugShift": AUGSHIFT, "Add": ADD, "AugAdd": AUGADD}
"""Rows of table 3."""

EQUAL_COMPUTE = 3
"""Epochs of a network by itself that cost about what one of an augmented network does.

A step of the small MobileNetV2 on one core: NetAug 2.7 times Base, AugShift 3.1 times Shift, AugAdd 3.5 times Add;
counted in multiply-adds of all passes it is 3.3 times for each.
"""

CONTROLS = {
    "Base, equal compute": dataclasses.replace(BASE, epochs=EQUAL_COMPUTE),
    "Shift, equal compute": dataclasses.replace(SHIFT, epochs=EQUAL_COMPUTE),
    "Add, equal compute": dataclasses.replace(ADD, epochs=EQUAL_COMPUTE),
    "Shift, own start": dataclasses.replace(SHIFT, own_start=True),
    "AugShift without HWS": HYBRID,
    "AugShift, W + small Laplace": dataclasses.replace(AUGSHIFT, remap="small_laplace"),
    "AugShift, FC by quantiles": dataclasses.replace(AUGSHIFT, remap="quantile"),
    "AugShift, r by the target's statistics": dataclasses.replace(AUGSHIFT, remap="laplace_own"),
    "AugShift, r with even steps": dataclasses.replace(AUGSHIFT, remap="laplace_even"),
    "Add with HWS": dataclasses.replace(ADD, remap="laplace"),
    "Add with HWS, b of adders' start": dataclasses.replace(ADD, remap="laplace", adder_scale=ADDER_SCALE),
    "AugAdd without HWS": dataclasses.replace(AUGADD, remap=None),
    "AugAdd, b of adders' start": dataclasses.replace(AUGADD, adder_scale=ADDER_SCALE),
    "AugAdd, r with even steps": dataclasses.replace(AUGADD, remap="laplace_even"),
    "AugAdd, r's scale alone": dataclasses.replace(AUGADD, remap="scaled"),
    "AugAdd, r by the target's statistics": dataclasses.replace(AUGADD, remap="laplace_own"),
}
"""Rows that the paper does not have: what else could explain a gain."""

MUTATION = Window(0.1, 0.6)
"""Time nodes of table 11's rows with block mutation: inside the lists of table 2."""
