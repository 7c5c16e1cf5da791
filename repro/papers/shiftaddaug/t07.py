"""ShiftAddAug table 7 (Sec. 4.6): what the augmented part computes, and heterogeneous weight sharing."""

from __future__ import annotations

from repro.papers.shiftaddaug.comparing import comparison
from repro.papers.shiftaddaug.methods import AUGSHIFT, BASE, HYBRID, SHIFT, SHIFT_AROUND_SHIFT
from repro.papers.shiftaddaug.recipes import THREE_MODELS

METHODS = {
    "Mult. baseline": BASE,
    "To shift op": SHIFT,
    "Aug. with Shift": SHIFT_AROUND_SHIFT,
    "Aug. with Hybrid Computation": HYBRID,
    "Aug. with HWS": AUGSHIFT,
}

TABLE = comparison("Operator of the augmented part, with and without weight remapping", METHODS, THREE_MODELS)
