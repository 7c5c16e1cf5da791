"""Every network of the four papers, each buildable with convolution, shift or adder layers.

create("ghostnet", width=0.5, num_classes=100, form="cifar", op="adder")
list_models(), describe("ghostnet")
"""

from repro.models import acghostnet, ghostnet, mobile, resnet, shiftaddnas  # noqa: F401  importing a family registers it
from repro.models.build import OPERATORS, ROLES, Builder
from repro.models.registry import create, describe, list_models

__all__ = ["OPERATORS", "ROLES", "Builder", "create", "describe", "list_models"]
