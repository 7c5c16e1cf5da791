"""Every network of the four papers, each buildable with convolution, shift or adder layers.

create("ghostnet", width=0.5, num_classes=100, form="cifar", op="adder")
list_models(), describe("ghostnet")
"""

# Importing a family registers its models.
from repro.models import (  # noqa: F401
    acghostnet,
    cells,
    ghostnet,
    googlenet,
    mobile,
    resnet,
    shiftaddnas,
    shufflenet,
    squeezenet,
    translation,
    vgg,
)
from repro.models.build import OPERATORS, ROLES, Builder
from repro.models.registry import create, describe, list_models

__all__ = ["OPERATORS", "ROLES", "Builder", "create", "describe", "list_models"]
