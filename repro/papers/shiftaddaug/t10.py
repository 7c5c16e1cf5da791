"""ShiftAddAug table 10 (Sec. 4.6): heterogeneous weight sharing without augmentation.

Without a network around it the target has its own weights in memory, and R goes by their mean and deviation.
"""

from __future__ import annotations

from repro.papers.shiftaddaug.comparing import comparison
from repro.papers.shiftaddaug.methods import AUGSHIFT, SHIFT, Method
from repro.papers.shiftaddaug.recipes import THREE_MODELS

METHODS = {
    "w/o. aug. , w/o. HWS": SHIFT,
    "w/o. aug. , with HWS": Method("shift", remap="laplace"),
    "with aug. , with HWS": AUGSHIFT,
}


def _flags(method: Method) -> dict[str, int]:
    return {"aug": int(method.around is not None), "hws": int(method.remap is not None)}


TABLE = comparison("Weight remapping without augmentation", METHODS, THREE_MODELS, flags=_flags)
