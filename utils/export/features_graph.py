"""Acoustic features in a TensorFlow graph, equal to those of `utils.data.features`, of recordings or of chunks.

Framing and DFT are a gather and a matrix product, which every runtime has: TFLite's FFT takes powers of two only.
Float64 keeps the small bins of a log spectrum; in float32 what is 120 dB below the loudest bin of a frame is noise.
"""

import numpy as np
import python_speech_features as psf
import scipy.fft
import scipy.signal
import tensorflow.compat.v1 as tf

from utils.audio.checks import MAX_PEAK
from utils.data.features import (
    INT16_SCALE,
    LOG_NFFT,
    NUM_CEPSTRA,
    NUM_MFCC_FILTERS,
    PREEMPHASIS,
    FeatureSpec,
    dft_size,
    filterbank,
)


class FeatureGraph:
    """Features of one kind, as graph functions.

    Args:
      spec: kind of features.
      dtype: type of the arithmetic.
      zero: scalar 0 that is added to constants; TFLite quantises matrices that are constants, but not what depends on
        an input.
    """

    def __init__(self, spec: FeatureSpec, dtype: tf.DType = tf.float64, zero: tf.Tensor | float = 0.0):
        self.spec, self.dtype, self._zero = spec, dtype, tf.cast(zero, dtype)
        self._nfft = LOG_NFFT if spec.mode == 'log' else dft_size(spec)
        self._bins = spec.featlen if spec.mode == 'log' else self._nfft // 2 + 1

    def num_frames(self, num_samples: tf.Tensor) -> tf.Tensor:
        """As `FeatureSpec.num_frames`, of a tensor."""
        window, step = self.spec.window, self.spec.step
        return tf.where_v2(num_samples < window, 0, 1 + (num_samples - window + step - 1) // step)

    def whole(self, samples: tf.Tensor, num_samples: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Features of a batch of recordings.

        Args:
          samples: float32 `[batch, samples]`, full scale [-1, 1], anything beyond each length.
          num_samples: int32 `[batch]`.

        Returns:
          Features `[batch, frames, featlen]`, of one frame at least; int32 `[batch]`, frames of each recording, 0 of
          one that is shorter than a window.
        """
        num_frames = self.num_frames(num_samples)
        most = tf.maximum(self.num_frames(tf.shape(samples)[1]), 1)
        length = self.spec.window + (most - 1) * self.spec.step
        samples = tf.pad(samples, [[0, 0], [1, tf.maximum(0, length - tf.shape(samples)[1])]])[:, : length + 1]
        features = self.frames(self.signal(samples, tf.constant([-1]), num_samples))
        if self.spec.featlen == 39:
            features = self.with_deltas(features, tf.constant([0]), num_frames)
        return features, num_frames

    def signal(self, samples: tf.Tensor, first: tf.Tensor, num_samples: tf.Tensor) -> tf.Tensor:
        """Scaled samples, pre-emphasised unless log, zero outside the recording.

        Args:
          samples: float32 `[batch, 1 + samples]`, the sample before the others first.
          first: int32 `[batch]` or `[1]`, number of the first of them in its recording.
          num_samples: int32 `[batch]`, samples of the recordings.

        Returns:
          `[batch, samples]`.
        """
        numbers = first[:, tf.newaxis] + tf.range(tf.shape(samples)[1])
        is_inside = (numbers >= 0) & (numbers < num_samples[:, tf.newaxis])
        samples = tf.cast(tf.where_v2(is_inside, samples, 0.0), self.dtype)
        samples = tf.maximum(tf.minimum(samples, MAX_PEAK), -MAX_PEAK) * INT16_SCALE
        if self.spec.mode == 'log':
            return samples[:, 1:]
        emphasised = samples[:, 1:] - PREEMPHASIS * samples[:, :-1]
        return tf.where_v2(is_inside[:, 1:], emphasised, tf.zeros([], self.dtype))

    def frames(self, signal: tf.Tensor) -> tf.Tensor:
        """Features without deltas of the whole frames of a signal `[batch, samples]`, at least one."""
        spec, bins = self.spec, self._bins
        num_frames = 1 + (tf.shape(signal)[1] - spec.window) // spec.step
        places = spec.step * tf.range(num_frames)[:, tf.newaxis] + tf.range(spec.window)
        frames = tf.reshape(tf.gather(signal, tf.reshape(places, [-1]), axis=1), [-1, spec.window])
        if spec.mode == 'log':
            frames *= tf.constant(scipy.signal.get_window('hann', spec.window), self.dtype)
        spectra = tf.square(tf.matmul(frames, self._dft()))
        power = (spectra[:, :bins] + spectra[:, bins:]) / self._nfft
        values = {'log': self._log, 'fbank': self._fbank, 'mfcc': self._mfcc}[spec.mode](power)
        return tf.reshape(values, [tf.shape(signal)[0], num_frames, int(values.shape[1])])

    def with_deltas(self, features: tf.Tensor, first: tf.Tensor, num_frames: tf.Tensor) -> tf.Tensor:
        """Features, their deltas and the deltas of these; frames beyond the ends of the recording repeat those there.

        Args:
          features: `[batch, frames, features]`.
          first: int32 `[batch]` or `[1]`, number of the first of them in its recording.
          num_frames: int32 `[batch]`, frames of the recordings.

        Returns:
          `[batch, frames, 3 · features]`, right for frames four or more from the ends of the tensor, and for
          those nearer to an end that is the recording's.
        """
        deltas = self._deltas(features, first, num_frames)
        return tf.concat([features, deltas, self._deltas(deltas, first, num_frames)], 2)

    def _deltas(self, features, first, num_frames):
        frames = tf.shape(features)[1]
        numbers = first[:, tf.newaxis] + tf.range(frames)

        def moved(offset):
            wanted = tf.maximum(tf.minimum(numbers + offset, num_frames[:, tf.newaxis] - 1), 0) - first[:, tf.newaxis]
            return tf.gather(features, tf.maximum(tf.minimum(wanted, frames - 1), 0), axis=1, batch_dims=1)

        return (moved(1) - moved(-1) + 2 * (moved(2) - moved(-2))) / 10

    def _dft(self):
        """Cosines and sines, `[window, 2 · bins]`, taken from one period: the matrix itself would be 0.7 MB."""
        angles = 2 * np.pi * np.arange(self._nfft) / self._nfft
        numbers = tf.range(self.spec.window) + tf.cast(self._zero, tf.int32)  # so that the running model computes them
        places = numbers[:, tf.newaxis] * tf.range(self._bins) % self._nfft
        period = tf.constant(np.stack([np.cos(angles), np.sin(angles)]), self.dtype)
        return tf.concat([tf.gather(wave, places) for wave in tf.unstack(period)], 1)

    def _product(self, rows, matrix):
        return tf.matmul(rows, tf.constant(matrix, self.dtype) + self._zero)

    def _log(self, power):
        return tf.math.log(tf.maximum(power, np.finfo(np.float64).eps))

    def _fbank(self, power):
        return self._log(self._product(power, filterbank(self.spec.featlen, self._nfft)))

    def _mfcc(self, power):
        mel = self._log(self._product(power, filterbank(NUM_MFCC_FILTERS, self._nfft)))
        cosines = psf.lifter(scipy.fft.dct(np.eye(NUM_MFCC_FILTERS), type=2, axis=1, norm='ortho')[:, :NUM_CEPSTRA])
        energy = self._log(tf.reduce_sum(power, 1, keepdims=True))
        return tf.concat([energy, self._product(mel, cosines)[:, 1:]], 1)

