"""Recordings in the usual formats, at any rate, with any number of channels, as mono at 16 kHz.

All audio is read here, in blocks: memory depends neither on the length of a file nor on what its header claims.
"""

import contextlib
import os
import stat
from collections.abc import Iterator

import numpy as np
import soundfile

from utils.audio.checks import FORMATS, REPAIR, Levels, check_end, silent_stderr
from utils.audio.resample import SAMPLE_RATE, ratio, resample
from utils.errors import DataError

_BLOCK_VALUES = 1 << 19  # most utterances are one block, which takes a quarter of the time less than several
_MAX_WHOLE_SECS = 3600
_ROUNDING_SECS = 0.02  # a segment may end that far beyond its file: times are often rounded to two decimals
_MAX_SAMPLES = 1 << 40  # as the end of a file whose header has no length
# decoding of these has no state, or starts at any sample; elsewhere samples after a seek differ (MP3, Opus, GSM)
_EXACT_SEEK = {'ULAW', 'ALAW', 'FLOAT', 'DOUBLE', 'VORBIS'}


def read_audio(
    path: str, warnings: list[str] | None = None, start_secs: float = 0.0, end_secs: float | None = None
) -> np.ndarray:
    """Reads a recording or segment of at most an hour, float32 `[samples]`; arguments and errors: `read_blocks`."""
    blocks: list[np.ndarray] = []
    for block in read_blocks(path, warnings, start_secs, end_secs):
        blocks.append(block)
        if sum(map(len, blocks)) > _MAX_WHOLE_SECS * SAMPLE_RATE:
            raise DataError(f'{path}: longer than {_MAX_WHOLE_SECS} s; cut it into utterances')
    return blocks[0] if len(blocks) == 1 else np.concatenate(blocks)


def read_blocks(
    path: str, warnings: list[str] | None = None, start_secs: float = 0.0, end_secs: float | None = None
) -> Iterator[np.ndarray]:
    """Reads a recording, or a segment of it, in blocks of a few seconds.

    A segment has the samples from ``round(start_secs * rate)`` to before ``round(end_secs * rate)``, at the rate of the
    file; it is resampled as if it were a file of its own.

    Args:
      path: the file.
      warnings: receives a text for each suspicion about the signal, at the end of the file.
      start_secs: start of the segment, seconds.
      end_secs: end of the segment, seconds; None: end of the file.

    Yields:
      float32 `[samples]`, channels averaged, resampled to 16 kHz; [-1, 1] is full scale.

    Raises:
      DataError: the file cannot be read or does not fit its header, or has no samples, or some that are not finite or
        far above full scale (this may come after the last block), or the segment is not within the file.
    """
    with _open(path) as sound:
        first, last = _span(sound, start_secs, end_secs)
        yield from resample(_mono_blocks(sound, [] if warnings is None else warnings, first, last), sound.samplerate)


def measure(path: str, start_secs: float = 0.0, end_secs: float | None = None) -> tuple[int, float]:
    """Number of samples that `read_audio` returns, and duration in seconds, from the file's header alone."""
    with _open(path) as sound:
        first, last = _span(sound, start_secs, end_secs)
        up, down = ratio(sound.samplerate)
        return -(-(last - first) * up // down), (last - first) / sound.samplerate


class _Sound(soundfile.SoundFile):
    def seekable(self) -> bool:
        return False  # else soundfile seeks after each block, and the MP3 decoder returns other samples from there on


@contextlib.contextmanager
def _open(path: str) -> Iterator[_Sound]:
    """Opens a recording by its file descriptor; any failure in the block becomes a `DataError` that names the file."""
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):
            raise DataError('not a regular file; give a recording')  # a FIFO would block
        with open(path, 'rb', buffering=0) as stream:
            if not os.fstat(stream.fileno()).st_size:
                raise DataError('the file is empty; copy it again, or remove it and its transcript')
            with silent_stderr():
                sound = _Sound(stream.fileno(), closefd=False)
            with sound:
                if sound.format not in FORMATS:
                    raise DataError(f'{sound.format_info} is no format that is read here; convert it to FLAC')
                if not 1000 <= sound.samplerate <= 768_000:
                    raise DataError(f'its header claims {sound.samplerate} samples a second; {REPAIR}')
                yield sound
    except DataError as error:
        raise DataError(f'{path}: {error}') from None
    except soundfile.LibsndfileError as error:
        reason = error.error_string.removeprefix('Error : ').rstrip('.').lower()
        raise DataError(f'{path}: not readable as audio ({reason}); copy it again, or convert it to FLAC') from error
    except OSError as error:
        raise DataError(f'{path}: cannot be read ({(error.strerror or str(error)).lower()})') from error


def _span(sound: _Sound, start_secs: float, end_secs: float | None) -> tuple[int, int]:
    """First sample of a segment, and the one after its last; a `DataError` if they are not within the file."""
    rate, num_samples = sound.samplerate, sound.frames
    end = num_samples / rate if end_secs is None else end_secs
    what = f'segment from {start_secs:g} s to {"the end" if end_secs is None else f"{end_secs:g} s"}'
    if not (0 <= start_secs <= _MAX_SAMPLES and start_secs <= end):  # neither is true of NaN
        if end_secs is None and start_secs > end:
            raise DataError(f'{what}: the file ends at {num_samples / rate:.3f} s; correct the times')
        raise DataError(f'{what}: not times in seconds, the end after the start; correct them')
    if end_secs is None and start_secs == 0:
        return 0, num_samples
    first, last = round(start_secs * rate), num_samples if end_secs is None else round(min(end, _MAX_SAMPLES) * rate)
    if last > num_samples + _ROUNDING_SECS * rate:
        raise DataError(f'{what}: the file ends at {num_samples / rate:.3f} s; correct the times')
    if first >= min(last, num_samples):
        raise DataError(f'{what}: no samples in it; correct the times')
    return first, min(last, num_samples)


def _skip(sound: _Sound, num_samples: int, buffer: np.ndarray) -> None:
    """Moves to a sample: by a seek where that is exact, else by decoding all before it."""
    is_exact = sound.format == 'FLAC' or sound.subtype in _EXACT_SEEK or sound.subtype.startswith('PCM_')
    if is_exact and sound.frames < _MAX_SAMPLES:
        sound.seek(num_samples)
        return
    while num_samples:
        num_read = len(_read(sound, buffer[:num_samples]))
        if not num_read:
            raise DataError(f'ends {num_samples / sound.samplerate:.3f} s before the segment; {REPAIR}')
        num_samples -= num_read


def _read(sound: _Sound, buffer: np.ndarray) -> np.ndarray:
    """Samples `[samples, channels]` that fill the buffer, fewer at the end of the file."""
    with silent_stderr() if sound.format == 'MP3' else contextlib.nullcontext():
        return buffer[: sound.buffer_read_into(buffer, 'float32')]


def _mono_blocks(sound: _Sound, warnings: list[str], first: int, last: int) -> Iterator[np.ndarray]:
    """Blocks of the samples from ``first`` to before ``last``, at the rate of the file, channels averaged."""
    buffer = np.empty((max(1, _BLOCK_VALUES // sound.channels), sound.channels), np.float32)
    levels, position = Levels(), first
    if first:
        _skip(sound, first, buffer)
    while wanted := min(len(buffer), last - position):
        block = _read(sound, buffer[:wanted])
        position += len(block)
        levels.add(block)
        yield block.mean(axis=1, dtype=np.float32) if sound.channels > 1 else block[:, 0].copy()
        if len(block) < wanted:
            break
    if last == sound.frames:
        warnings += check_end(sound, position)
    if position < last and (last < sound.frames or position == first):
        raise DataError(f'ends at {position / sound.samplerate:.3f} s, within the segment; {REPAIR}')
    warnings += levels.suspicions()
