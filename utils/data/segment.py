"""Segmentation of long recordings at pauses, into pieces as long as the utterances of a training set."""

import numpy as np

ENERGY_STEP_SECS = 0.01
QUIET_SECS = 0.2  # shorter pauses occur within words: the closure of a plosive takes up to 0.15 s
QUIET_DB = 1.0  # frames at most this far above the quietest one belong to the same pause


def segments(samples: np.ndarray, sample_rate: int, longest_secs: float = 20.0) -> list[tuple[float, np.ndarray]]:
    """Cuts a recording into pieces of at most ``longest_secs``.

    Each cut is in the middle of the quietest stretch between half the limit and the limit, and leaves at least a
    quarter of the limit for the next piece. No sample is lost.

    Args:
      samples: float `[samples]`.
      sample_rate: samples per second.
      longest_secs: longest piece, seconds.

    Returns:
      ``(start in seconds, samples)`` in order; the pieces are views of ``samples``.
    """
    limit = int(longest_secs * sample_rate)
    if limit < 4:
        raise ValueError(f'pieces of {longest_secs} s at {sample_rate} Hz hold no sound')
    pieces, start = [], 0
    while len(samples) - start > limit:
        remaining = len(samples) - start
        earliest, latest = limit // 2, min(limit, remaining - limit // 4)
        cut = start + earliest + _quietest(samples[start + earliest : start + latest], sample_rate)
        pieces.append((start / sample_rate, samples[start:cut]))
        start = cut
    pieces.append((start / sample_rate, samples[start:]))
    return pieces


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
