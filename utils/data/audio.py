"""Recordings in any format libsndfile reads, at any rate, with any number of channels, as mono at 16 kHz."""

import contextlib
import math
import re
from collections.abc import Iterator

import numpy as np
import scipy.signal
import soundfile

from utils.errors import DataError

SAMPLE_RATE = 16000

_UNKNOWN_LENGTH = 1 << 40  # libsndfile counts 2**63 - 1 samples in a FLAC that was written to a pipe
_STREAMED_BYTES = 0x7FF00000  # a WAV written to a pipe has a size near 2 or 4 GiB in its header
_SHORT_WAV = re.compile(r'^data : (\d+) \(should be (\d+)\)', re.MULTILINE)


def read_audio(path: str) -> np.ndarray:
    """Reads a whole recording.

    Returns:
      float32 `[samples]`, channels averaged, resampled to 16 kHz; [-1, 1] is full scale.

    Raises:
      DataError: the file cannot be read, is cut short, has no samples, or has samples that are not finite.
    """
    with _open(path) as sound:
        samples = sound.read(dtype='float32', always_2d=True)
        expected, rate = sound.frames, sound.samplerate
        # libsndfile estimates the length of an MP3 without a header
        is_short = len(samples) < expected and sound.format != 'MPEG'
    if is_short:
        raise DataError(f'{path}: cut short: {len(samples)} samples of {expected}; copy it again')
    if not len(samples):
        raise DataError(f'{path}: has no samples; copy it again, or remove it and its transcript')
    samples = samples.mean(axis=1, dtype=np.float32) if samples.shape[1] > 1 else samples[:, 0]
    if not np.isfinite(samples).all():
        raise DataError(f'{path}: has samples that are not finite numbers; record it again')
    if rate == SAMPLE_RATE:
        return samples
    divisor = math.gcd(rate, SAMPLE_RATE)
    return scipy.signal.resample_poly(samples, SAMPLE_RATE // divisor, rate // divisor).astype(np.float32)


def measure(path: str) -> tuple[int, float]:
    """Number of samples that `read_audio` returns, and duration in seconds, from the file's header alone."""
    with _open(path) as sound:
        return -(-sound.frames * SAMPLE_RATE // sound.samplerate), sound.frames / sound.samplerate


@contextlib.contextmanager
def _open(path: str) -> Iterator[soundfile.SoundFile]:
    """Opens a recording; any failure in the block becomes a `DataError` that names the file."""
    try:
        with open(path, 'rb') as stream:
            if not stream.read(1):
                raise DataError(f'{path}: the file is empty; copy it again, or remove it and its transcript')
            stream.seek(0)
            with soundfile.SoundFile(stream) as sound:
                _check_length(path, sound)
                yield sound
    except soundfile.LibsndfileError as error:
        reason = error.error_string.removeprefix('Error : ').rstrip('.').lower()
        raise DataError(f'{path}: not readable as audio ({reason}); copy it again, or convert it to FLAC') from error
    except OSError as error:
        raise DataError(f'{path}: cannot be read ({(error.strerror or str(error)).lower()})') from error


def _check_length(path: str, sound: soundfile.SoundFile) -> None:
    if sound.frames > _UNKNOWN_LENGTH:
        raise DataError(f'{path}: its header has no length; convert it again, to a file and not a pipe')
    # libsndfile reads a WAV that was cut short without an error; only its log has the two sizes
    short = _SHORT_WAV.search(sound.extra_info)
    if short and int(short[2]) + 1 < int(short[1]) < _STREAMED_BYTES:
        raise DataError(f'{path}: cut short: {short[2]} bytes of samples, not {short[1]}; copy it again')
