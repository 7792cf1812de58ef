"""Three-valued logic of claims: a number with an interval says yes, no, or nothing (None)."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable

from grannfield.analysis.uncertainty import Estimate

Truth = bool | None
"""Yes, no, or not known."""


def every(values: Iterable[Truth]) -> Truth:
    """Whether all hold: one that does not is enough to know.

    >>> every([True, True]), every([True, None]), every([None, False]), every([])
    (True, None, False, None)
    """
    found = list(values)
    if any(value is False for value in found):
        return False
    return True if found and all(found) else None


def some(values: Iterable[Truth]) -> Truth:
    """Whether any holds: one that does is enough to know.

    >>> some([False, True]), some([False, None]), some([False, False]), some([])
    (True, None, False, None)
    """
    return negated(every(negated(value) for value in values))


def most(values: Iterable[Truth]) -> Truth:
    """Whether more than half hold, as soon as what is not known could not change it.

    >>> most([True, True, None]), most([True, None, None]), most([False, False, None, None]), most([])
    (True, None, False, None)
    """
    found = list(values)
    yes, no = sum(value is True for value in found), sum(value is False for value in found)
    if not found:
        return None
    return True if 2 * yes > len(found) else False if 2 * no >= len(found) else None


TOGETHER: dict[str, Callable[[Iterable[Truth]], Truth]] = {"every": every, "most": most, "any": some}
"""How many of several must hold."""


def negated(value: Truth) -> Truth:
    return None if value is None else not value


def beyond(found: Estimate, limit: float) -> Truth:
    """Whether a number is above a limit: yes or no only where the whole of its interval is.

    >>> number = Estimate(0.985, (0.98, 0.99), n=200)
    >>> beyond(number, 0.97), beyond(number, 0.985), beyond(number, 0.995)
    (True, None, False)
    >>> beyond(Estimate.missing("below detection", interval=(2.0, math.inf)), 1.0)  # a bound is an interval
    True
    """
    low, high = found.interval
    return True if low > limit else False if high < limit else None


def apart(a: Estimate, b: Estimate) -> Truth:
    """Whether a is larger than b: yes or no only where their intervals do not meet.

    >>> a, b, c = Estimate(3.0, (2.9, 3.1), n=5), Estimate(1.0, (0.9, 1.1), n=5), Estimate(2.5, (2.0, 3.0), n=5)
    >>> apart(a, b), apart(b, a), apart(a, c)
    (True, False, None)
    """
    return True if a.interval[0] > b.interval[1] else False if a.interval[1] < b.interval[0] else None


def size_of(difference: Estimate) -> Estimate:
    """How large a difference is, whichever way it goes.

    >>> size_of(Estimate(-0.5, (-0.8, 0.2), n=3)).interval, size_of(Estimate(-0.5, (-0.8, -0.2), n=3)).interval
    ((0.0, 0.8), (0.2, 0.8))
    """
    low, high = difference.interval
    ends = sorted((abs(low), abs(high)))
    interval = (0.0 if low <= 0 <= high else ends[0], ends[1])
    if difference.reason:
        return Estimate.missing(difference.reason, difference.detail, n=difference.n, interval=interval)
    return Estimate(abs(difference.value), interval, max(1, difference.n))


def total(parts: Iterable[Estimate]) -> Estimate:
    """A sum whose interval runs from the sum of the lower ends to that of the upper: wider than chance alone would make it.

    >>> total([Estimate(1.0, (0.5, 1.5), n=3), Estimate(2.0, (1.0, 4.0), n=9)])
    Estimate(value=3.0, interval=(1.5, 5.5), n=3, reason='', detail='', note='', dof=inf)
    """
    found = list(parts)
    interval = (math.fsum(one.interval[0] for one in found), math.fsum(one.interval[1] for one in found))
    missing = next((one for one in found if one.reason), None)
    n = min((one.n for one in found), default=0)
    if missing is not None:
        return Estimate.missing(missing.reason, missing.detail, n=n, interval=interval)
    return Estimate(math.fsum(one.value for one in found), interval, max(1, n))
