"""What a step costs at its place in a long run."""

import itertools
import statistics
from collections.abc import Sequence

_AROUND = 10  # steps whose median speaks for a place: one step alone is as noisy as the machine


def early_and_late(began: Sequence[float]) -> list[float]:
    """The milliseconds from one step to the next, around the tenth and before the last.

    `began` are the seconds at which the steps of one run began, in order.
    """
    took = [(after - before) * 1000 for before, after in itertools.pairwise(began)]
    return [
        statistics.median(took[_AROUND // 2 : _AROUND // 2 + _AROUND]),
        statistics.median(took[-_AROUND:]),
    ]
