"""Acoustic features: frames of a recording as MFCC, log mel filterbank or log power spectrogram.

All kinds have ``1 + ceil((samples - window) / step)`` frames, the last one padded with zeros. Samples are first scaled
to the range of 16-bit integers, so that values do not depend on the file's format.
"""

import functools
import math
from dataclasses import dataclass

import numpy as np
import python_speech_features as psf
import scipy.fft
import scipy.signal

from utils.audio.checks import MAX_PEAK
from utils.audio.resample import SAMPLE_RATE
from utils.errors import DataError, UsageError

DEFAULT_FEATLEN = {'mfcc': 13, 'fbank': 40, 'log': 161}
FEATLENS = {'mfcc': (13, 39), 'fbank': (40,), 'log': (81, 161)}

INT16_SCALE = 32768.0
PREEMPHASIS = 0.97
LOG_NFFT = 320  # 50 Hz a bin: 161 bins reach 8 kHz, the first 81 reach 4 kHz
NUM_CEPSTRA, NUM_MFCC_FILTERS = 13, 26
_MIN_NFFT = 256  # with fewer bins the lowest mel filters would be empty
_MAX_WINDOW_SECS = 1.0
_BLOCK_FRAMES = 256  # the intermediate values of a block stay in the cache, and their memory is reused


@dataclass(frozen=True)
class FeatureSpec:
    """Kind of features: mode, dimensions, window and step in seconds. As text: ``fbank-40-0.02-0.01``."""

    mode: str = 'fbank'
    featlen: int = 40
    winlen_secs: float = 0.02
    winstep_secs: float = 0.01

    def __post_init__(self):
        if self.mode not in FEATLENS:
            raise UsageError(f'-m/--mode {self.mode} is unknown; choose {", ".join(FEATLENS)}')
        if self.featlen not in FEATLENS[self.mode]:
            right = ' or '.join(map(str, FEATLENS[self.mode]))
            raise UsageError(
                f'-f/--featlen {self.featlen} does not fit -m/--mode {self.mode}, which has {right} dimensions; '
                f'give -f {right}, or leave it out'
            )
        for flag, secs in (('-wl/--winlen', self.winlen_secs), ('-ws/--winstep', self.winstep_secs)):
            if not 2 / SAMPLE_RATE <= secs <= _MAX_WINDOW_SECS:
                raise UsageError(f'{flag} {secs:g} is not a window in seconds; give one like 0.02 (at most 1)')
        if self.mode == 'log' and self.window > LOG_NFFT:
            raise UsageError(
                f'-wl/--winlen {self.winlen_secs:g} is too long for -m/--mode log, whose {self.featlen} bins are 50 Hz '
                f'wide; give at most 0.02'
            )

    @property
    def window(self) -> int:
        """Samples per frame."""
        return int(self.winlen_secs * SAMPLE_RATE + 0.5)

    @property
    def step(self) -> int:
        """Samples from one frame to the next."""
        return int(self.winstep_secs * SAMPLE_RATE + 0.5)

    def num_frames(self, num_samples: int) -> int:
        """Number of frames of a recording; 0 if it is shorter than a window."""
        return 0 if num_samples < self.window else 1 + math.ceil((num_samples - self.window) / self.step)

    def __str__(self) -> str:
        return f'{self.mode}-{self.featlen}-{self.winlen_secs!r}-{self.winstep_secs!r}'

    @classmethod
    def parse(cls, text: str) -> 'FeatureSpec':
        """Inverse of ``str()``; a `DataError` for any other text."""
        try:
            mode, featlen, winlen, winstep = text.split('-')
            return cls(mode, int(featlen), float(winlen), float(winstep))
        except ValueError:
            raise DataError(f'{text!r} does not name features; expected something like fbank-40-0.02-0.01') from None

    @classmethod
    def of_featlen(cls, featlen: int) -> 'FeatureSpec':
        """The kind of features with ``featlen`` dimensions and default windows; a `DataError` if there is none."""
        mode = next((mode for mode, featlens in FEATLENS.items() if featlen in featlens), None)
        if mode is None:
            known = ', '.join(str(each) for featlens in FEATLENS.values() for each in featlens)
            raise DataError(f'features of {featlen} dimensions are unknown; they have one of {known}')
        return cls(mode, featlen)


def extract(samples: np.ndarray, spec: FeatureSpec) -> np.ndarray:
    """Features of a recording.

    Args:
      samples: float `[samples]` in [-1, 1] at 16 kHz.
      spec: kind of features.

    Returns:
      float32 `[frames, featlen]`, finite for all samples but NaN: silence has a floor, samples are clipped at MAX_PEAK.

    Raises:
      DataError: the recording is shorter than one window.
    """
    num_frames = spec.num_frames(len(samples))
    if not num_frames:
        raise DataError(f'{len(samples) / SAMPLE_RATE:.4f} s are too short for a window of {spec.winlen_secs:g} s')
    signal = prepared(samples, spec)
    if spec.mode != 'log':
        signal = psf.sigproc.preemphasis(signal, PREEMPHASIS)
    # the last frame is padded here, because its block may be shorter than a window
    features = of_frames(np.pad(signal, (0, (num_frames - 1) * spec.step + spec.window - len(signal))), spec)
    if spec.featlen == 39:
        features = with_deltas(features)
    return features.astype(np.float32)


def prepared(samples: np.ndarray, spec: FeatureSpec) -> np.ndarray:
    """Samples clipped and scaled, in the precision of the features' arithmetic."""
    # single bins of a log spectrum can be too small for the precision of float32; sums over mel bands are not
    dtype: type[np.floating] = np.float64 if spec.mode == 'log' else np.float32
    return np.clip(np.asarray(samples, dtype), -MAX_PEAK, MAX_PEAK) * INT16_SCALE


def of_frames(signal: np.ndarray, spec: FeatureSpec) -> np.ndarray:
    """Features without deltas of the whole frames of a signal, at least one, which is pre-emphasised unless log."""
    compute = {'mfcc': _mfcc, 'fbank': _fbank, 'log': _log_spectrum}[spec.mode]
    num_frames = 1 + (len(signal) - spec.window) // spec.step
    blocks = []
    for first in range(0, num_frames, _BLOCK_FRAMES):
        last = min(first + _BLOCK_FRAMES, num_frames) - 1
        blocks.append(compute(signal[first * spec.step : last * spec.step + spec.window], spec))
    return np.concatenate(blocks)


def with_deltas(features: np.ndarray) -> np.ndarray:
    """Features, their deltas and the deltas of these, `[frames, 3 · features]`."""
    deltas = _deltas(features)
    return np.concatenate([features, deltas, _deltas(deltas)], axis=1)


def _power(signal: np.ndarray, spec: FeatureSpec, nfft: int, window: np.ndarray | None = None) -> np.ndarray:
    """Power spectrum of each whole frame, `[frames, nfft / 2 + 1]`, in the precision of the signal."""
    frames = np.lib.stride_tricks.sliding_window_view(signal, spec.window)[:: spec.step]
    spectrum = scipy.fft.rfft(frames if window is None else frames * window, nfft)
    return (spectrum.real**2 + spectrum.imag**2) / nfft


@functools.cache
def filterbank(num_filters: int, nfft: int) -> np.ndarray:
    """Mel filters of python_speech_features, float32 `[nfft / 2 + 1, filters]`."""
    return psf.get_filterbanks(num_filters, nfft, SAMPLE_RATE).T.astype(np.float32)


def _mfcc(signal: np.ndarray, spec: FeatureSpec) -> np.ndarray:
    """As python_speech_features.mfcc, which spends most of its time on framing and a float64 transform."""
    power = _power(signal, spec, dft_size(spec))
    mel = _floored_log(power @ filterbank(NUM_MFCC_FILTERS, dft_size(spec)))
    cepstra = scipy.fft.dct(mel, type=2, axis=1, norm='ortho')[:, :NUM_CEPSTRA]
    cepstra = psf.lifter(cepstra)
    cepstra[:, 0] = _floored_log(power.sum(axis=1, dtype=np.float64))
    return cepstra


def _fbank(signal: np.ndarray, spec: FeatureSpec) -> np.ndarray:
    """As python_speech_features.logfbank, with the same savings as `_mfcc`."""
    return _floored_log(_power(signal, spec, dft_size(spec)) @ filterbank(spec.featlen, dft_size(spec)))


def _floored_log(power: np.ndarray) -> np.ndarray:
    """Logarithm in float64 of at least epsilon, which python_speech_features puts in place of zeros only."""
    return np.log(np.maximum(power, np.finfo(np.float64).eps, dtype=np.float64))


def _deltas(features: np.ndarray) -> np.ndarray:
    """As python_speech_features.delta over two frames on either side, vectorised over the frames."""
    padded = np.pad(features, ((2, 2), (0, 0)), mode='edge')
    frames = len(features)
    return sum(n * (padded[2 + n : 2 + n + frames] - padded[2 - n : 2 - n + frames]) for n in (1, 2)) / 10


def dft_size(spec: FeatureSpec) -> int:
    """Size of the DFT of mel features."""
    return max(_MIN_NFFT, 1 << (spec.window - 1).bit_length())


def _log_spectrum(signal: np.ndarray, spec: FeatureSpec) -> np.ndarray:
    """Log of the power spectrum under a Hann window."""
    return _floored_log(
        _power(signal, spec, LOG_NFFT, scipy.signal.get_window('hann', spec.window))[:, : spec.featlen]
    )
