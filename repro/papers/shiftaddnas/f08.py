"""ShiftAddNAS figure 8 (appendix B): the same histograms as ShiftAddAug figure 2, so the same networks; their runs are shared."""

from repro.papers.weight_distributions import TABLE

__all__ = ["TABLE"]
