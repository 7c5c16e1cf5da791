"""Network augmentation: a tiny multiplication-free network trained inside a larger one, and weights shared by both.

from repro.augment import AugmentRecipe, augment, fit_augmented, remapping

network = augment(create("mobilenet_v2"), width=2.2, expand=2.2, op="shift", remap=remapping("laplace"))
fit_augmented(network, train, recipe, AugmentRecipe(), seed=0)
network.reestimate_(prepare(train).input_batches(512))
network.export_target()
"""

from repro.augment.inside import InsideNetwork, augment_inside
from repro.augment.network import AugmentedNetwork, Sample, augment
from repro.augment.remap import TransformationKernel, gaussian_to_laplacian
from repro.augment.remapping import REMAPPINGS, laplace_scales, remapping
from repro.augment.train import AugmentRecipe, Window, fit_augmented, fit_plain

__all__ = [
    "REMAPPINGS",
    "AugmentRecipe",
    "AugmentedNetwork",
    "InsideNetwork",
    "Sample",
    "TransformationKernel",
    "Window",
    "augment",
    "augment_inside",
    "fit_augmented",
    "fit_plain",
    "gaussian_to_laplacian",
    "laplace_scales",
    "remapping",
]
