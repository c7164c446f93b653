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


def resample(blocks: Iterable[np.ndarray], rate: int) -> Iterator[np.ndarray]:
    """Resamples float32 blocks; concatenated, they equal `scipy.signal.resample_poly` of the whole bit by bit."""
    up, down = ratio(rate)
    if up == down:
        yield from blocks
        return
    half = 10 * max(up, down)
    margin = down * -(-(half // up + 1) // down)  # samples on either side that the filter reaches, in whole periods
    pending, start = np.zeros(0, np.float32), 0  # pending[start:] is not resampled yet
    for block in blocks:
        pending = np.concatenate([pending, block])
        stop = start + max(0, len(pending) - margin - start) // down * down
        if stop > start:
            resampled = scipy.signal.resample_poly(pending[: stop + margin], up, down, window=_filter(half))
            yield resampled[start // down * up : stop // down * up]
            pending, start = pending[max(0, stop - margin) :], min(margin, stop)
    if len(pending) > start:
        yield scipy.signal.resample_poly(pending, up, down, window=_filter(half))[start // down * up :]


@functools.lru_cache(maxsize=4)
def _filter(half: int) -> np.ndarray:
    """The default filter of `resample_poly`, which would design it anew for each block."""
    return scipy.signal.firwin(2 * half + 1, 10 / half, window=('kaiser', 5.0)).astype(np.float32)
