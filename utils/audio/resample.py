"""Resampling to 16 kHz in blocks, equal to resampling the whole recording."""

import functools
from collections.abc import Iterable, Iterator
from fractions import Fraction

import numpy as np
import scipy.signal

SAMPLE_RATE = 16000

_MAX_FACTOR = 50_000  # the filter has 20 times as many taps


def ratio(rate: int) -> tuple[int, int]:
    """Factors of upsampling and downsampling; for odd rates above 50 kHz the nearest ratio of smaller numbers."""
    return Fraction(SAMPLE_RATE, rate).limit_denominator(_MAX_FACTOR).as_integer_ratio()


class Resampler:
    """Resamples a recording that comes in blocks; its results, concatenated, equal `scipy.signal.resample_poly`.

    Args:
      rate: samples per second of the blocks.
    """

    def __init__(self, rate: int):
        self._up, self._down = ratio(rate)
        self._half = 10 * max(self._up, self._down)
        # samples on either side that the filter reaches, in whole periods
        self._margin = self._down * -(-(self._half // self._up + 1) // self._down)
        self._pending, self._start = np.zeros(0, np.float32), 0  # pending[start:] is not resampled yet

    def add(self, block: np.ndarray) -> np.ndarray:
        """Appends float32 samples; returns those at 16 kHz that no later sample changes."""
        if self._up == self._down:
            return block
        pending = np.concatenate([self._pending, block])
        start, stop = self._start, self._start
        stop += max(0, len(pending) - self._margin - start) // self._down * self._down
        self._pending = pending
        if stop == start:
            return np.zeros(0, np.float32)
        self._pending, self._start = pending[max(0, stop - self._margin) :], min(self._margin, stop)
        first, last = (each // self._down * self._up for each in (start, stop))
        return self._filtered(pending[: stop + self._margin])[first:last]

    def end(self) -> np.ndarray:
        """The rest, once all samples have been added."""
        if len(self._pending) <= self._start:
            return np.zeros(0, np.float32)
        return self._filtered(self._pending)[self._start // self._down * self._up :]

    def _filtered(self, samples: np.ndarray) -> np.ndarray:
        return scipy.signal.resample_poly(samples, self._up, self._down, window=_filter(self._half))


def resample(blocks: Iterable[np.ndarray], rate: int) -> Iterator[np.ndarray]:
    """Resamples float32 blocks; concatenated, they equal `scipy.signal.resample_poly` of the whole bit by bit."""
    resampler = Resampler(rate)
    yield from (each for each in map(resampler.add, blocks) if len(each))
    if len(rest := resampler.end()):
        yield rest


@functools.lru_cache(maxsize=4)
def _filter(half: int) -> np.ndarray:
    """The default filter of `resample_poly`, which would design it anew for each block."""
    return scipy.signal.firwin(2 * half + 1, 10 / half, window=('kaiser', 5.0)).astype(np.float32)
