"""Which of several processes this one is."""

from __future__ import annotations

import os


def is_first_process() -> bool:
    """Whether this is the process that writes files and speaks: the only one, or the one of rank 0.

    Known from the environment, as whoever starts several processes leaves it, before they have met.
    """
    for name in ("RANK", "LOCAL_RANK", "SLURM_PROCID", "JSM_NAMESPACE_RANK"):  # in the order that Lightning asks
        if name in os.environ:
            return int(os.environ[name]) == 0 and (name == "RANK" or int(os.environ.get("NODE_RANK", "0")) == 0)
    return int(os.environ.get("NODE_RANK", "0")) == 0
