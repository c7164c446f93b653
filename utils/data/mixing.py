"""The mixture of several training indexes: the share of each that an epoch takes."""

import math
from collections.abc import Sequence
from fractions import Fraction

import numpy as np

_SHARES = 0x5A  # keeps these draws apart from those of the batch plan, whose seeds are (seed, epoch)


class Mixture:
    """Utterances of each epoch for indexes with weights.

    A weight of 1.5 takes every utterance of its index once an epoch, and a half of them again. The halves are windows
    of one seeded order that follow one another from epoch to epoch, round and round: no utterance comes twice in one of
    them, and two epochs cover all. A window has at least one utterance, unless the index is empty.

    Utterances that an epoch may take several times have a slot for each time, so that each is augmented on its own. The
    first slots are all utterances once, in order.

    Args:
      origins: number of the index of each utterance, int `[utterances]`.
      weights: weight of each index, above 0.
      seed: random seed of the run.

    Attributes:
      rows: the utterance of each slot, int64 `[slots]`.
    """

    def __init__(self, origins: np.ndarray, weights: Sequence[float], seed: int):
        rows, self._parts, end = [np.arange(len(origins))], [], len(origins)
        for number, weight in enumerate(weights):
            slots = utterances = np.flatnonzero(origins == number)
            for copy in range(math.ceil(weight)):
                if copy:
                    slots, end = np.arange(end, end + len(slots)), end + len(slots)
                    rows.append(utterances)
                order = np.random.default_rng([seed, number, copy, _SHARES]).permutation(slots)
                self._parts.append((number, order, min(Fraction(str(weight)) - copy, Fraction(1))))
        self.rows = np.concatenate(rows)

    def epoch(self, epoch: int) -> np.ndarray:
        """Slots of an epoch, counted from 0, in increasing order; a pure function of the arguments."""
        return np.sort(np.concatenate([_window(order, share, epoch) for _, order, share in self._parts]))

    def counts(self, epoch: int) -> list[int]:
        """Number of utterances that an epoch takes of each index."""
        numbers = [number for number, _, _ in self._parts]
        sizes = [len(_window(order, share, epoch)) for _, order, share in self._parts]
        return np.bincount(numbers, sizes).astype(int).tolist()


def _window(order: np.ndarray, share: Fraction, epoch: int) -> np.ndarray:
    start, stop = math.floor(epoch * share * len(order)), math.ceil((epoch + 1) * share * len(order))
    return order[np.arange(start, min(stop, start + len(order))) % max(len(order), 1)]
