"""ShiftAddAug table 9 (Sec. 4.6): what weight sharing adds, in an augmentation of Shift with Shift.

Sec. 3.3 calls the reordering of important channels into the target "weight sharing"; without it the two parts keep
their channels. Separate weights for the two parts would leave no path between them: that is direct training."""

from __future__ import annotations

import dataclasses

from repro.papers.shiftaddaug.comparing import comparison
from repro.papers.shiftaddaug.methods import SHIFT, SHIFT_AROUND_SHIFT
from repro.papers.shiftaddaug.recipes import THREE_MODELS

METHODS = {
    "Direct trained": SHIFT,
    "w/o. weight sharing": dataclasses.replace(SHIFT_AROUND_SHIFT, reorder=False),
    "w/. weight sharing": SHIFT_AROUND_SHIFT,
}

TABLE = comparison("Augmentation with and without weight sharing", METHODS, THREE_MODELS)
