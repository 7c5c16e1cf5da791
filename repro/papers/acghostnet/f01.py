"""ACGhostNet figure 1: accuracy against energy. The points are the runs of table 5."""

from __future__ import annotations

import dataclasses

from repro.papers.acghostnet.t05 import EXPERIMENT as TABLE_5

EXPERIMENT = dataclasses.replace(
    TABLE_5, table_id="acghostnet_f01", title="Accuracy against energy of GhostNets and searched models"
)
