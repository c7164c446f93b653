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

_UNKNOWN_LENGTH = 1 << 40  # libsndfile's count for a FLAC that was written to a pipe is 2**63 - 1
_STREAMED_BYTES = 0x7FF00000  # writers that could not seek back leave a size near 2 or 4 GiB in a WAV's header
_SHORT_WAV = re.compile(r'^data : (\d+) \(should be (\d+)\)', re.MULTILINE)


def read_audio(path: str) -> np.ndarray:
    """Reads a whole recording.

    Returns:
      float32 `[samples]`, channels averaged, resampled to 16 kHz; [-1, 1] is full scale.

    Raises:
      DataError: if the file cannot be read, is cut short, holds no samples, or any that is not a finite number.
    """
    with _open(path) as sound:
        samples = sound.read(dtype='float32', always_2d=True)
        expected, rate = sound.frames, sound.samplerate
        # The length of an MP3 without a header is libsndfile's guess.
        is_short = len(samples) < expected and sound.format != 'MPEG'
    if is_short:
        raise DataError(f'{path}: cut short: {len(samples)} samples of {expected}; copy it again')
    if not len(samples):
        raise DataError(f'{path}: holds no samples; copy it again, or remove it and its transcript')
    samples = samples.mean(axis=1, dtype=np.float32) if samples.shape[1] > 1 else samples[:, 0]
    if not np.isfinite(samples).all():
        raise DataError(f'{path}: holds samples that are not finite numbers; make the recording anew')
    if rate == SAMPLE_RATE:
        return samples
    divisor = math.gcd(rate, SAMPLE_RATE)
    return scipy.signal.resample_poly(samples, SAMPLE_RATE // divisor, rate // divisor).astype(np.float32)


def measure(path: str) -> tuple[int, float]:
    """Samples that `read_audio` will return, and the duration in seconds, from the file's header alone."""
    with _open(path) as sound:
        return -(-sound.frames * SAMPLE_RATE // sound.samplerate), sound.frames / sound.samplerate


@contextlib.contextmanager
def _open(path: str) -> Iterator[soundfile.SoundFile]:
    """Opens a recording; whatever goes wrong until the block ends is a `DataError` that names the file."""
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
        raise DataError(f'{path}: its header does not say how long it is; convert it again, to a file and not a pipe')
    # libsndfile reads a WAV that was cut short without complaint; only its log tells.
    short = _SHORT_WAV.search(sound.extra_info)
    if short and int(short[2]) + 1 < int(short[1]) < _STREAMED_BYTES:
        raise DataError(f'{path}: cut short: {short[2]} bytes of samples, not {short[1]}; copy it again')
