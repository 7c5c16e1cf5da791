"""ShiftAddNAS figure 8: the same histograms as ShiftAddAug figure 2, so the same networks; their runs are shared."""

from __future__ import annotations

import dataclasses

from repro.papers import weight_distributions

EXPERIMENT = dataclasses.replace(weight_distributions.EXPERIMENT, table_id="shiftaddnas_f08")
