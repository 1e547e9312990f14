"""The rank of this process, before the processes have met."""

from __future__ import annotations

import os


def is_first_process() -> bool:
    """Return whether this process writes files and messages: the only one, or the process of rank 0.

    Lightning's `rank_zero_only` needs Lightning, which takes seconds to import, and ignores the rank of the node.
    """
    for name in ("RANK", "LOCAL_RANK", "SLURM_PROCID", "JSM_NAMESPACE_RANK"):  # in the order that Lightning asks
        if name in os.environ:
            return int(os.environ[name]) == 0 and (name == "RANK" or int(os.environ.get("NODE_RANK", "0")) == 0)
    return int(os.environ.get("NODE_RANK", "0")) == 0
