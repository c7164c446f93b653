"""Features of a recording that comes in blocks of any length, equal to those of the whole recording."""

import numpy as np

from utils.data.features import PREEMPHASIS, FeatureSpec, of_frames, prepared, with_deltas

DELTA_REACH = 4  # frames on either side that the deltas of deltas depend on


class FeatureStream:
    """Carries over samples, pre-emphasis and deltas from block to block.

    Args:
      spec: kind of features.

    Attributes:
      num_samples: samples so far.
    """

    def __init__(self, spec: FeatureSpec):
        self._spec, self.num_samples = spec, 0
        self._signal = prepared(np.zeros(0), spec)  # pre-emphasised samples from the start of the next frame on
        self._last = prepared(np.zeros(1), spec)  # the last sample, which the next one's pre-emphasis needs
        self._skip = 0  # samples before the next frame that are still to come, where frames are apart
        self._num_frames = 0
        self._context = np.zeros((0, 13))  # frames whose deltas are incomplete, and DELTA_REACH ones before them
        self._num_returned = 0  # frames at the beginning of the context that have been returned

    def add(self, samples: np.ndarray) -> np.ndarray:
        """Appends float samples in [-1, 1] at 16 kHz; returns the frames that are complete, float32."""
        spec = self._spec
        self.num_samples += len(samples)
        block = prepared(samples, spec)
        if spec.mode != 'log' and len(block):
            signal = block.copy()
            signal[1:] -= PREEMPHASIS * block[:-1]
            signal[:1] -= PREEMPHASIS * self._last
            self._last, block = block[-1:], signal
        return self._frames(block, is_last=False)

    def end(self) -> np.ndarray:
        """The last frames, once all samples have been added; none at all of a recording shorter than a window."""
        missing = self._spec.num_frames(self.num_samples) - self._num_frames
        padding = max(0, self._spec.window + self._skip - len(self._signal)) if missing else 0
        return self._frames(np.zeros(padding, self._signal.dtype), is_last=True)

    def _frames(self, block: np.ndarray, is_last: bool) -> np.ndarray:
        spec = self._spec
        signal = np.concatenate([self._signal, block])
        skipped = min(self._skip, len(signal))
        signal, self._skip = signal[skipped:], self._skip - skipped
        count = max(0, 1 + (len(signal) - spec.window) // spec.step)
        frames = np.zeros((0, 13 if spec.mode == 'mfcc' else spec.featlen))
        if count:
            frames = of_frames(signal, spec)
            used = min(count * spec.step, len(signal))
            signal, self._skip = signal[used:], count * spec.step - used
        self._signal, self._num_frames = signal, self._num_frames + count
        return (self._with_deltas(frames, is_last) if spec.featlen == 39 else frames).astype(np.float32)

    def _with_deltas(self, frames: np.ndarray, is_last: bool) -> np.ndarray:
        context = np.concatenate([self._context, frames])
        first, stop = self._num_returned, len(context) if is_last else len(context) - DELTA_REACH
        if stop <= first:
            self._context = context
            return np.zeros((0, 39))
        found = with_deltas(context)[first:stop]
        dropped = max(0, stop - DELTA_REACH)
        self._context, self._num_returned = context[dropped:], stop - dropped
        return found
