"""ShiftAddAug figure 2 (Sec. 3.3): weight distributions of convolution, shift and adder layers."""

from repro.papers.weight_distributions import TABLE

__all__ = ["TABLE"]
