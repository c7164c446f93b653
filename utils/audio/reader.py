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


def read_audio(path: str, warnings: list[str] | None = None) -> np.ndarray:
    """Reads a recording of at most an hour, float32 `[samples]`; arguments and errors as in `read_blocks`."""
    blocks: list[np.ndarray] = []
    for block in read_blocks(path, warnings):
        blocks.append(block)
        if sum(map(len, blocks)) > _MAX_WHOLE_SECS * SAMPLE_RATE:
            raise DataError(f'{path}: longer than {_MAX_WHOLE_SECS} s; cut it into utterances')
    return blocks[0] if len(blocks) == 1 else np.concatenate(blocks)


def read_blocks(path: str, warnings: list[str] | None = None) -> Iterator[np.ndarray]:
    """Reads a recording in blocks of a few seconds.

    Args:
      path: the file.
      warnings: receives a text for each suspicion about the signal, at the end of the file.

    Yields:
      float32 `[samples]`, channels averaged, resampled to 16 kHz; [-1, 1] is full scale.

    Raises:
      DataError: the file cannot be read or does not fit its header, or has no samples, or some that are not finite or
        far above full scale; this may come after the last block.
    """
    with _open(path) as sound:
        yield from resample(_mono_blocks(sound, [] if warnings is None else warnings), sound.samplerate)


def measure(path: str) -> tuple[int, float]:
    """Number of samples that `read_audio` returns, and duration in seconds, from the file's header alone."""
    with _open(path) as sound:
        up, down = ratio(sound.samplerate)
        return -(-sound.frames * up // down), sound.frames / sound.samplerate


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


def _mono_blocks(sound: _Sound, warnings: list[str]) -> Iterator[np.ndarray]:
    """Blocks at the rate of the file, channels averaged."""
    buffer = np.empty((max(1, _BLOCK_VALUES // sound.channels), sound.channels), np.float32)
    levels, num_read = Levels(), 0
    while wanted := min(len(buffer), sound.frames - num_read):
        with silent_stderr() if sound.format == 'MP3' else contextlib.nullcontext():
            block = buffer[: sound.buffer_read_into(buffer[:wanted], 'float32')]
        num_read += len(block)
        levels.add(block)
        yield block.mean(axis=1, dtype=np.float32) if sound.channels > 1 else block[:, 0].copy()
        if len(block) < wanted:
            break
    warnings += check_end(sound, num_read) + levels.suspicions()
