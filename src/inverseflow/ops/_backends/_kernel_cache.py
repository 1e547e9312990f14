"""Cache of matrices derived from recently used kernels, keyed by value (as in ``csrc/kernel.hpp``)."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from threading import Lock

import torch
from torch import Tensor


class KernelCache:
    """Results that depend on a kernel alone, reused while the kernel has the same values; of at most `most` bytes.

    Every call compares all elements, so in-place updates are always seen. Comparing is much cheaper than computing.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._total = 0
        self._entries: OrderedDict[Hashable, tuple[Tensor, Tensor]] = OrderedDict()
        self._lock = Lock()  # only ever tried, so that a forked child cannot wait for ever

    def get(self, weight: Tensor, key: Hashable, compute: Callable[[Tensor], Tensor]) -> Tensor:
        """Return ``compute(weight)``, from the cache if it is there. The result must not be written to.

        The key is everything else that the result depends on. Nothing is cached for a kernel on a GPU, where comparing
        would wait for it, or while its gradient is recorded.
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
        result = compute(copy)  # of the copy: another thread may change the original
        if copy.nbytes + result.nbytes <= self._most and self._lock.acquire(blocking=False):
            try:
                self._insert(key, copy, result)
            finally:
                self._lock.release()
        return result

    def _insert(self, key: Hashable, weight: Tensor, result: Tensor) -> None:
        former = self._entries.pop(key, ())
        self._entries[key] = weight, result
        self._total += weight.nbytes + result.nbytes - sum(tensor.nbytes for tensor in former)
        while self._total > self._most:
            self._total -= sum(tensor.nbytes for tensor in self._entries.popitem(last=False)[1])
