"""Draws rows in proportion to their values, by a binary tree of sums."""

import numpy as np

# Levels of at most so many nodes for each row of an update are summed whole, in order: faster than node by node.
_WHOLE = 4


class SumTree:
    """Values of at least 0, one a row, and above them a binary tree of their sums.

    Every node is the sum of its two children, and is computed anew from them whenever one of them changes. So the sums
    are those of a tree that is built of the same values at once, to the bit, after however many updates.

    Source: Schaul et al. 2016, appendix B.2.1 (arXiv:1511.05952).
    """

    def __init__(self, capacity: int):
        """Makes a tree of `capacity` >= 1 rows, all of value 0."""
        self._depth = (capacity - 1).bit_length()
        self._num_leaves = 1 << self._depth
        # Node 1 is the root, nodes 2 i and 2 i + 1 are the children of node i, row r is node num_leaves + r. The system
        # gives memory only to pages that are written: 16 bytes a row.
        self._nodes = np.zeros(2 * self._num_leaves)

    @property
    def total(self) -> float:
        """Sum of all values."""
        return float(self._nodes[1])

    def values(self, rows: np.ndarray) -> np.ndarray:
        """Returns the values <float64>[...] of rows <int>[...]."""
        return self._nodes[self._num_leaves + rows]

    def update(self, rows: np.ndarray, values: np.ndarray | float) -> None:
        """Sets the values of rows <int>[M] to `values`, <float64>[M] or one for all; of equal rows the last one wins.
        """
        nodes = self._nodes
        changed = self._num_leaves + rows
        nodes[changed] = values  # NumPy assigns in order
        first = self._num_leaves >> 1  # of a level, which has as many nodes
        while first > _WHOLE * len(rows):
            changed >>= 1
            left = changed + changed
            nodes[changed] = nodes.take(left) + nodes.take(left + 1)
            first >>= 1
        while first:
            nodes[first : 2 * first] = nodes[2 * first : 4 * first : 2] + nodes[2 * first + 1 : 4 * first : 2]
            first >>= 1

    def find(self, targets: np.ndarray) -> np.ndarray:
        """Returns the rows <int64>[M] in which the cumulative sum of values passes `targets`.

        Each has a value above 0: where rounding leads to another, the nearest before it is taken.

        Args:
          targets: <float64>[M] from 0 to `total`, which must be above 0. Neighbours are found faster one after another.
        """
        node = np.ones(len(targets), np.int64)
        rest = targets.copy()  # to be passed within the node
        for _ in range(self._depth):
            node += node
            left = self._nodes.take(node)
            is_right = rest >= left
            node += is_right
            left *= is_right
            rest -= left
        rows = node - self._num_leaves
        for i in np.flatnonzero(self.values(rows) == 0):
            # A node of sum 0 was entered to the right of one that has a sum.
            rows[i] = np.flatnonzero(self.values(np.arange(rows[i])))[-1]
        return rows

    def clear(self) -> None:
        """Sets all values to 0."""
        self._nodes = np.zeros_like(self._nodes)
