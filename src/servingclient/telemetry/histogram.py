"""A log-linear histogram that merges. Pure.

A value falls into the bucket that the upper half of its single-precision bits names: sign, exponent
and 7 bits of mantissa, the number format bfloat16. So each power of two has 128 buckets of equal
width, a value is at most 0.4 % from the middle of its bucket, and many values are put there by a
few calls of C: 0.1 us a value, where computing a logarithm for each costs 0.4.

For figures of one's own: ``from servingclient.telemetry.histogram import Histogram``; with windows
of time, ``servingclient.telemetry.tally.Windows``.
"""

from __future__ import annotations

import math
import struct
import sys
from array import array
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any, ClassVar, Final

_UPPER_HALVES: Final = slice(1 if sys.byteorder == "little" else 0, None, 2)
_BITS: Final = struct.Struct(">HH")
_SINGLE: Final = struct.Struct(">f")
_BUCKETS: Final = 0x7F80
"""Buckets of all finite numbers that are not negative; there begin infinity and NaN."""
_MINUS_ZERO: Final = 0x8000
_TOO_LARGE: Final = 3e38
"""A little less than the largest single-precision number."""
_FORMAT: Final = 1


def buckets_of(values: Sequence[float]) -> list[int]:
    """The bucket of each value.

    Args:
        values: Finite numbers, not negative, below 3e38.
    """
    singles = struct.pack(f"{len(values)}f", *values)  # a third of what array("f", ...) takes
    return array("H", singles)[_UPPER_HALVES].tolist()


def lower_bound(bucket: int) -> float:
    """The smallest value of a bucket; what the bucket below ends at."""
    found: float = _SINGLE.unpack(_BITS.pack(bucket, 0))[0]
    return found


class Histogram:
    """How values are distributed. Merging two is the same as having put all values into one.

    Args:
        values: Put in to begin with.

    Attributes:
        count: Values put in.
        sum: Their sum, exact but for rounding.
        min: The smallest, exact; infinity while there is none.
        max: The largest, exact; 0.0 while there is none.
    """

    __slots__ = ("_counts", "count", "max", "min", "sum")

    def __init__(self, values: Sequence[float] = ()) -> None:
        self._counts: Counter[int] = Counter()
        self.count: int = 0
        self.sum: float = 0.0
        self.min: float = math.inf
        self.max: float = 0.0
        self.extend(values)

    def add(self, value: float) -> None:
        """Put one value in; many at once cost a tenth each, see ``extend``.

        Raises:
            ValueError: It is negative, too large or no number.
        """
        self.extend((value,))

    def extend(self, values: Sequence[float]) -> None:
        """Put values in, all or none.

        Raises:
            ValueError: One is negative, too large or no number.
        """
        if not values:
            return
        if not any(values):  # most waits are none
            self._counts[0] += len(values)
            self._note(len(values), 0.0, 0.0, 0.0)
            return
        total, low, high = sum(values), min(values), max(values)
        if not (low >= 0.0 and total < _TOO_LARGE):  # a sum with a NaN in it is one
            raise ValueError("a histogram takes numbers from 0 to 3e38")
        self._counts.update(buckets_of(values))
        if not low and _MINUS_ZERO in self._counts:
            self._counts[0] += self._counts.pop(_MINUS_ZERO)
        self._note(len(values), total, abs(low), high)

    def take(self, values: Sequence[float]) -> None:
        """Put in those that can be, and leave out the others."""
        try:
            self.extend(values)
        except ValueError:
            self.extend([value for value in values if 0.0 <= value < 1e30])

    def merge(self, other: Histogram) -> None:
        """Put in all that ``other`` holds."""
        if other.count:
            counts, known = self._counts, self._counts.get
            if counts:
                for bucket, count in other.items():  # Counter's own way costs three times as much
                    counts[bucket] = known(bucket, 0) + count
            else:
                counts.update(dict(other.items()))  # a call of C
            self._note(other.count, other.sum, other.min, other.max)

    def _note(self, count: int, total: float, low: float, high: float) -> None:
        self.count += count
        self.sum += total
        self.min = min(self.min, low)
        self.max = max(self.max, high)

    def copy(self) -> Histogram:
        """One of its own, with the same values."""
        made = Histogram()
        made.merge(self)
        return made

    def items(self) -> Iterable[tuple[int, int]]:
        """Buckets and how many values fell into each; ``lower_bound`` says where one begins."""
        return self._counts.items()

    # ------------------------------------------------------------------ reading

    @property
    def mean(self) -> float | None:
        """The mean; None while it is empty."""
        return self.sum / self.count if self.count else None

    def quantile(self, share: float) -> float | None:
        """The value that ``share`` of all values do not exceed, within 0.4 %.

        Args:
            share: 0.5 for the median, 0.99 for the 99th percentile; 1.0 is the exact maximum.

        Returns:
            None while the histogram is empty.

        Raises:
            ValueError: ``share`` is outside 0 to 1.
        """
        return self.quantiles((share,))[0]

    def quantiles(self, shares: Sequence[float]) -> list[float | None]:
        """``quantile`` of each share, in one pass.

        Args:
            shares: In ascending order.

        Raises:
            ValueError: One is outside 0 to 1, or they do not ascend.
        """
        if not all(0.0 <= share <= 1.0 for share in shares) or list(shares) != sorted(shares):
            raise ValueError("shares are numbers from 0 to 1, in ascending order")
        if not self.count:
            return [None] * len(shares)
        found: list[float | None] = []
        passed, buckets = 0, iter(sorted(self.items()))
        bucket = 0
        for share in shares:
            rank = max(1, math.ceil(share * self.count))
            if rank == self.count:
                found.append(self.max)
                continue
            while passed < rank:
                bucket, count = next(buckets)
                passed += count
            found.append(self._value(bucket))
        return found

    def _value(self, bucket: int) -> float:
        """The middle of a bucket; where all values are equal, that value."""
        middle = (lower_bound(bucket) + lower_bound(bucket + 1)) / 2 if bucket else 0.0
        return min(max(middle, self.min), self.max)

    def up_to(self, bounds: Sequence[float]) -> list[int]:
        """How many values do not exceed each bound, as Prometheus counts them.

        The bucket of a bound counts as a whole: values up to 0.8 % above it are in.

        Args:
            bounds: In ascending order; infinity counts all.
        """
        found, passed = [], 0
        items = sorted(self.items(), reverse=True)
        for bound in bounds:
            last = _BUCKETS if bound == math.inf else buckets_of((bound,))[0]
            while items and items[-1][0] <= last:
                passed += items.pop()[1]
            found.append(passed)
        return found

    # ------------------------------------------------------------------ travelling

    def encode(self) -> list[Any]:
        """As plain lists and numbers, for JSON or another process; see ``decode``."""
        items = sorted(self.items())
        buckets, counts = [item[0] for item in items], [item[1] for item in items]
        low = self.min if self.count else 0.0
        return [_FORMAT, self.sum, low, self.max, buckets, counts]

    @classmethod
    def decode(cls, encoded: Sequence[Any]) -> Histogram:
        """What ``encode`` gave.

        Raises:
            ValueError: It did not give this.
        """
        try:
            version, total, low, high, buckets, counts = encoded
            sound = version == _FORMAT and _is_sound(total, low, high, buckets, counts)
            if not sound:
                raise ValueError
        except (TypeError, ValueError):
            raise ValueError("this is no encoded histogram of a version that can be read") from None
        made = cls()
        if buckets:
            made._counts.update(dict(zip(buckets, counts, strict=True)))
            made._note(sum(counts), total, low, high)
        return made

    def packed(self) -> Histogram:
        """The same in a ninth of the memory, for keeping; nothing is put into it any more."""
        return _Packed(self)

    def __reduce__(self) -> tuple[Any, ...]:
        return Histogram.decode, (self.encode(),)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Histogram) and self.encode() == other.encode()

    __hash__: ClassVar[None] = None  # type: ignore[assignment] # it changes

    def __repr__(self) -> str:
        if not self.count:
            return "Histogram(empty)"
        return f"Histogram(count={self.count}, mean={self.mean:.3g}, max={self.max:.3g})"


class _Packed(Histogram):
    """Buckets and counts in two arrays: a dict takes some 90 bytes for each, this 10."""

    __slots__ = ("_buckets", "_numbers")

    def __init__(self, source: Histogram) -> None:
        super().__init__()
        counts = dict(source.items())
        self._buckets = array("H", list(counts))
        self._numbers = array("Q", list(counts.values()))
        self._note(source.count, source.sum, source.min, source.max)

    def items(self) -> Iterable[tuple[int, int]]:
        return zip(self._buckets, self._numbers, strict=True)

    def extend(self, values: Sequence[float]) -> None:
        if values:
            raise TypeError("a packed histogram takes no more values")

    def merge(self, other: Histogram) -> None:
        raise TypeError("a packed histogram takes no more values")


def _is_sound(total: float, low: float, high: float, buckets: list[int], counts: list[int]) -> bool:
    return (
        len(set(buckets)) == len(buckets) == len(counts)
        and all(type(bucket) is int and 0 <= bucket < _BUCKETS for bucket in buckets)
        and all(type(count) is int and count > 0 for count in counts)
        and 0.0 <= low <= high < math.inf
        and 0.0 <= total < math.inf
    )


def merged(histograms: Iterable[Histogram]) -> Histogram:
    """One that holds what all of them hold."""
    made = Histogram()
    for histogram in histograms:
        made.merge(histogram)
    return made
