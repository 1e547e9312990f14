"""What was computed of kernels lately, for the next call with the same kernel."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from threading import Lock

import torch
from torch import Tensor


class Kept:
    """Results that depend on a kernel alone, used again where the kernel is the same, element by element.

    Comparing is much cheaper than computing, and cannot go stale, whoever changed the kernel and however.

    Args:
        most: bytes of kernels and results that are kept; those used least recently go first.

    Example:
        >>> kept, weight = Kept(1 << 20), torch.eye(3)
        >>> first = kept.get(weight, "inverse", torch.inverse)
        >>> kept.get(weight, "inverse", torch.inverse) is first
        True
        >>> kept.get(weight.mul_(2), "inverse", torch.inverse) is first
        False
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._total = 0
        self._entries: OrderedDict[Hashable, tuple[Tensor, Tensor]] = OrderedDict()
        self._lock = Lock()  # nobody waits for it, so that a forked child cannot wait for ever

    def get(self, weight: Tensor, key: Hashable, compute: Callable[[Tensor], Tensor]) -> Tensor:
        """Return what `compute` makes of the kernel, now or in a call before; it may not be written to.

        Of a kernel on a GPU, where comparing would wait for it, or one whose gradient is recorded, nothing is kept.

        Args:
            weight: the kernel.
            key: what is computed, with everything that it depends on beside the kernel.
            compute: computes it.
        """
        if weight.device.type != "cpu" or (torch.is_grad_enabled() and weight.requires_grad):
            return compute(weight)
        key = (weight.data_ptr(), weight.shape, weight.stride(), weight.dtype, key)
        if self._lock.acquire(blocking=False):
            try:
                entry = self._entries.get(key)
                if entry is not None and torch.equal(entry[0], weight):
                    self._entries.move_to_end(key)
                    return entry[1]
            finally:
                self._lock.release()
        copy = weight.detach().clone()
        result = compute(copy)  # of what nobody changes meanwhile
        if copy.nbytes + result.nbytes <= self._most and self._lock.acquire(blocking=False):
            try:
                self._keep(key, copy, result)
            finally:
                self._lock.release()
        return result

    def _keep(self, key: Hashable, weight: Tensor, result: Tensor) -> None:
        former = self._entries.pop(key, ())
        self._entries[key] = weight, result
        self._total += weight.nbytes + result.nbytes - sum(tensor.nbytes for tensor in former)
        while self._total > self._most:
            self._total -= sum(tensor.nbytes for tensor in self._entries.popitem(last=False)[1])
