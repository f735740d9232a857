"""Sums whose order is fixed by how many terms there are, however these are dealt out.

Terms 0, 1, 2 ... are added in pairs of neighbours, and the sums of pairs likewise: ((0 + 1) + (2 + 3)) + ... So a process that has a
stretch of the terms can add most of them by itself, hand on a few partial sums, and the whole is the same to the bit as if one
process had added all.
"""

import numpy as np


def blocks(begin, end):
    """The partial sums that the terms from begin to end make: (level, place) of each, which has the terms from place · 2^level on,
    2^level of them; the largest there are."""
    found = []
    while begin < end:
        level = (end - begin).bit_length() - 1
        if begin:
            level = min(level, (begin & -begin).bit_length() - 1)
        found.append((level, begin >> level))
        begin += 1 << level
    return found


def cuts(rows, part):
    """Where so many rows are cut into grains of at most `part`, as even as can be: 0, the end of the first, and so on."""
    count = -(-rows // part)
    return [rows * i // count for i in range(count + 1)]


class PairwiseSum:
    """Vectors that are added up as they come, from left to right. It works in those that it is given, and keeps no more of them than
    the binary digits of their number."""

    def __init__(self):
        self.partial = []  # (level, place, vector), from left to right
        self._spare = []

    def room(self, size, dtype):
        """A vector to be filled and given to `add`."""
        return self._spare.pop() if self._spare else np.empty(size, dtype)

    def add(self, level, place, vector):
        """The next: term number `place` for level 0, else a partial sum as `blocks` has it."""
        while self.partial and place & 1 and self.partial[-1][:2] == (level, place - 1):
            left = self.partial.pop()[2]
            left += vector
            self._spare.append(vector)
            level, place, vector = level + 1, place >> 1, left
        self.partial.append((level, place, vector))

    def total(self):
        """The sum of all, and none is left."""
        found = self.partial.pop()[2]
        while self.partial:
            left = self.partial.pop()[2]
            left += found
            self._spare.append(found)
            found = left
        return found

    def reset(self):
        """Begin anew, in the memory that there is."""
        self._spare += [vector for _, _, vector in self.partial]
        self.partial = []

    def keep(self, vector):
        """A vector that is not needed any more."""
        self._spare.append(vector)
