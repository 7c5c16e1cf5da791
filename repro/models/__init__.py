"""Every network of the four papers, each buildable with convolution, shift or adder layers.

    create("ghostnet", width=0.5, num_classes=100, form="cifar", op="adder")
    create("resnet20", weights="resnet20-shift-glyphs")
    list_models(), list_weights(), describe("ghostnet"), summary(model, 32)

`op` names an operator for all layers but those that the paper of the family keeps multiplicative (`keep`), or maps
roles and layer names to operators; see `repro.models.build`. A family is imported when one of its models is asked for.
"""

from repro.models.build import OPERATORS, ROLES, Builder
from repro.models.registry import describe, list_models
from repro.models.summary import summary
from repro.models.trained import create, list_weights
from repro.models.weights import load_model, load_weights, save_weights

__all__ = [
    "OPERATORS",
    "ROLES",
    "Builder",
    "create",
    "describe",
    "list_models",
    "list_weights",
    "load_model",
    "load_weights",
    "save_weights",
    "summary",
]
