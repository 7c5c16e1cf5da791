"""ShiftAddNAS figure 8 (appendix B): the histograms of ShiftAddAug figure 2, so the same networks; runs are shared."""

from repro.papers.weight_distributions import TABLE

__all__ = ["TABLE"]
