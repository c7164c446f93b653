"""Segmentation of long recordings at pauses, into pieces as long as the utterances of a training set."""

import itertools
from collections.abc import Iterable, Iterator

import numpy as np

ENERGY_STEP_SECS = 0.01
QUIET_SECS = 0.2  # shorter pauses occur within words: the closure of a plosive takes up to 0.15 s
QUIET_DB = 1.0  # frames at most this far above the quietest one belong to the same pause


def segments(
    blocks: Iterable[np.ndarray], sample_rate: int, longest_secs: float = 20.0
) -> Iterator[tuple[float, np.ndarray]]:
    """Cuts a recording into pieces of at most ``longest_secs``, of which memory holds little more than one.

    Each cut is in the middle of the quietest stretch between half the limit and the limit, and leaves at least a
    quarter of the limit for the next piece. No sample is lost.

    Args:
      blocks: float `[samples]` each, the recording in order.
      sample_rate: samples per second.
      longest_secs: longest piece, seconds.

    Yields:
      ``(start in seconds, samples)`` in order; an empty recording is one empty piece.
    """
    limit = int(longest_secs * sample_rate)
    if limit < 4:
        raise ValueError(f'pieces of {longest_secs} s at {sample_rate} Hz hold no sound')
    start, samples, parts = 0, np.zeros(0, np.float32), []
    for block in itertools.chain(blocks, (None,)):
        parts += [] if block is None else [block]
        # before the end, the last quarter of the limit may still be needed for the next piece
        enough = limit if block is None else limit + limit // 4
        if block is not None and len(samples) + sum(map(len, parts)) <= enough:
            continue
        samples, parts = np.concatenate([samples, *parts]), []
        while len(samples) > enough:
            earliest, latest = limit // 2, min(limit, len(samples) - limit // 4)
            cut = earliest + _quietest(samples[earliest:latest], sample_rate)
            yield start / sample_rate, samples[:cut]
            start, samples = start + cut, samples[cut:]
    yield start / sample_rate, samples


def _quietest(window: np.ndarray, sample_rate: int) -> int:
    """Middle sample of the quietest stretch in the window; among equal ones, of the longest, then of the last."""
    step = max(1, int(ENERGY_STEP_SECS * sample_rate))
    num_steps = len(window) // step
    width = min(num_steps, max(1, round(QUIET_SECS / ENERGY_STEP_SECS)))
    if not width:
        return len(window) // 2
    energies = np.square(window[: num_steps * step], dtype=np.float64).reshape(num_steps, step).mean(axis=1)
    smooth = np.convolve(energies, np.full(width, 1 / width), mode='valid')
    # floor of 1e-12 (-120 dB of full scale): below it are rounding errors of the convolution
    is_quiet = np.maximum(smooth, 1e-12) <= max(smooth.min(), 1e-12) * 10 ** (QUIET_DB / 10)
    edges = np.flatnonzero(np.diff(np.concatenate(([False], is_quiet, [False])).astype(np.int8)))
    starts, ends = edges[::2], edges[1::2]
    longest = len(starts) - 1 - int(np.argmax((ends - starts)[::-1]))
    # the averages of steps starts..ends-1 cover the steps starts..ends+width-2
    return (int(starts[longest]) + int(ends[longest]) + width - 1) * step // 2
