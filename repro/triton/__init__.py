"""GPU programs and their launchers: tensors in, tensors out; no autograd, no choosing."""
