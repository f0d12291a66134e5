"""Endless passes over the windows of one source, in any stretch of which can be started.

A source is the windows of one shape in one shard set. A pass takes each of its windows once: its
shards in a keyed order, and inside a shard its windows in a keyed order. Passes follow each other
without end, so a position is a plain number, and windows [a, b) of the stream are found without
those before them: what one epoch does not take, the next one begins with.
"""

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from physioscale.streaming.permutation import permute
from physioscale.streaming.windows import WindowTable

IntArray = NDArray[np.int64]


class Source:
    """The passes over one source; K chunks, S shards that hold some of its windows."""

    def __init__(self, table: WindowTable, chunks: IntArray, *, seed: int, name: str) -> None:
        """Take the source of `chunks` (K,) of the table; `name` keys its order."""
        order = chunks[np.argsort(table.chunk_shard[chunks], kind="stable")]
        self._first_window = table.chunk_first_window[order]
        self._num_windows = table.chunk_num_windows[order]
        self._shards, bounds = np.unique(table.chunk_shard[order], return_index=True)
        self._bounds = np.append(bounds, len(order))
        before = np.concatenate(([0], np.cumsum(self._num_windows)))
        self._shard_windows = before[self._bounds[1:]] - before[self._bounds[:-1]]
        self._seed = seed
        self._name = name
        self.num_windows = int(before[-1])
        """Windows of one pass."""
        self._shard_order = lru_cache(maxsize=3)(self._order_shards)

    @property
    def num_shards(self) -> int:
        """Shards that hold windows of the source."""
        return len(self._shards)

    def windows(self, low: int, high: int) -> IntArray:
        """Return the windows at the stream's positions [low, high)."""
        parts = []
        for number in range(low // self.num_windows, -(-high // self.num_windows)):
            begin = number * self.num_windows
            parts += self._of_pass(number, max(low - begin, 0), min(high - begin, self.num_windows))
        return np.concatenate(parts) if parts else np.empty(0, dtype=np.int64)

    def _of_pass(self, number: int, low: int, high: int) -> list[IntArray]:
        """Return the windows at positions [low, high) of one pass, a stretch per shard."""
        order, before = self._shard_order(number)
        parts = []
        place = int(np.searchsorted(before, low, side="right")) - 1
        while place < len(order) and before[place] < high:
            shard, start = int(order[place]), int(before[place])
            windows = self._of_shard(shard)
            inside = (max(low - start, 0), min(high - start, len(windows)))
            if inside != (0, len(windows)):
                # Cut inside a shard: which of its windows come first is keyed as well.
                key = f"{self._name}/pass {number}/shard {self._shards[shard]}"
                windows = permute(windows, seed=self._seed, purpose=key)
            parts.append(windows[inside[0] : inside[1]])
            place += 1
        return parts

    def _of_shard(self, shard: int) -> IntArray:
        chunks = slice(self._bounds[shard], self._bounds[shard + 1])
        count = self._num_windows[chunks]
        within = np.arange(count.sum()) - np.repeat(np.cumsum(count) - count, count)
        windows: IntArray = np.repeat(self._first_window[chunks], count) + within
        return windows

    def _order_shards(self, number: int) -> tuple[IntArray, IntArray]:
        """Return the shards in the order of a pass, and the windows before each (S + 1,)."""
        order = permute(
            np.arange(self.num_shards, dtype=np.int64),
            seed=self._seed,
            purpose=f"{self._name}/pass {number}/shards",
        )
        return order, np.concatenate(([0], np.cumsum(self._shard_windows[order])))
