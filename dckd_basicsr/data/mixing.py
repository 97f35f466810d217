"""Several databases as one: which image of which database a number stands for."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate

from ..errors import DatasetError

__all__ = ["Mixture"]


class Mixture:
    """Numbers 0 to ``len - 1``, dealt out to databases one after the other.

    Without weights every image has one number. With weights, an epoch is as long as it takes to show every image at
    least once while the databases' shares of the numbers are as the weights. A database with more numbers than images
    repeats all of them equally often; numbers left over fall on images that follow from the sample's own seed. So a
    sample still depends on its request alone, and a resumed run reads what an uninterrupted one reads.

    Args:
        counts: images of each database.
        weights: shares of the databases, positive, in any unit; None for the images' numbers.

    Raises:
        DatasetError: not one positive weight for each database.

    >>> mixture = Mixture([100, 10], weights=[3, 1])
    >>> len(mixture), mixture.numbers
    (133, [100, 33])
    """

    def __init__(self, counts: Sequence[int], weights: Sequence[float] | None = None) -> None:
        self.counts = list(counts)
        self.numbers = list(counts)
        if weights is not None:
            if len(weights) != len(counts) or not all(weight > 0 for weight in weights):
                raise DatasetError(
                    f"weights must be one positive number for each of the {len(counts)} databases, got {list(weights)}"
                )
            unit = max(count / weight for count, weight in zip(counts, weights))
            self.numbers = [max(count, round(unit * weight)) for count, weight in zip(counts, weights)]
        self._ends = list(accumulate(self.numbers))

    def __len__(self) -> int:
        return self._ends[-1]

    def find(self, number: int, seed: int = 0) -> tuple[int, int]:
        """Return database and image of a number. Raises IndexError beyond the last."""
        if not 0 <= number < len(self):
            raise IndexError(number)
        database = bisect_right(self._ends, number)
        place = number - (self._ends[database] - self.numbers[database])
        count = self.counts[database]
        rounds = self.numbers[database] // count
        return database, (place if place < rounds * count else seed) % count
