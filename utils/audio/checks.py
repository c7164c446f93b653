"""Signs of damage in a recording: an end that does not fit its header or its file, and a suspicious signal."""

import contextlib
import os
import re
import sys
import threading
from collections.abc import Iterator

import numpy as np
import soundfile

from utils.errors import DataError

MAX_PEAK = 100.0  # 40 dB above full scale; a float file with the scale of integers reaches 32768
_UNKNOWN_LENGTH = 1 << 40  # libsndfile counts 2**63 - 1 samples in a FLAC that was written to a pipe
_STREAMED = (0x7FF00000, 0x80000000), (0xFFF00000, 1 << 32)  # sizes in the header of a WAV that was written to a pipe
# libsndfile reads files that are cut short or damaged without an error; only its log has the reasons
_SHORT = re.compile(r'^ *(?:data|SSND|Data Size|[Rr]iff(?: size)?) *: (\d+) \(should be (\d+)\)', re.MULTILINE)
_SHORT_AIFF = re.compile(r"'COMM' chunk \((\d+)\) not equal to frame count\n.*'SSND' chunk \((\d+)\)")
_BAD_OGG = re.compile(r'^Ogg ?: *(Skipped \d+ bytes|.*hole|File ended|Junk|Last page)', re.MULTILINE)
_NO_CHUNK = re.compile(r'Exiting parser|Have 0 marker|Resynching')
_CHUNKED = ('WAV', 'WAVEX', 'RF64', 'W64', 'AIFF')  # these may have large metadata after the samples
# in files of other formats, lost samples would not be noticed
FORMATS = (*_CHUNKED, 'AU', 'CAF', 'NIST', 'FLAC', 'OGG', 'MP3')
AUDIO_SUFFIXES = tuple('.flac .wav .ogg .oga .opus .mp3 .aif .aiff .aifc .au .snd .w64 .rf64 .caf .sph .nist'.split())
_NIST_COUNT = re.compile(rb'\nsample_count -i (\d+)')
REPAIR = 'copy it again, or repair it with another program'
_DESCRIPTOR = threading.Lock()  # of two threads, one would keep what the other has put in place of the descriptor


@contextlib.contextmanager
def silent_stderr() -> Iterator[None]:
    """Hides the messages of the MP3 decoder, which writes to the file descriptor."""
    if sys.stderr is None:  # closed; the descriptor may belong to the recording
        yield
        return
    with _DESCRIPTOR:
        saved = os.dup(2)
        try:
            with open(os.devnull, 'wb') as null:
                os.dup2(null.fileno(), 2)
            yield
        finally:
            os.dup2(saved, 2)
            os.close(saved)


def check_end(sound: soundfile.SoundFile, num_read: int) -> list[str]:
    """Raises a `DataError` if a recording, read from a file descriptor, does not fit its file; returns warnings."""
    log, size, num_samples = sound.extra_info, os.fstat(sound.name).st_size, sound.frames
    if _BAD_OGG.search(log):
        raise DataError(f'damaged or cut short; {REPAIR}')
    unread = size - os.lseek(sound.name, 0, os.SEEK_CUR)  # up to 16 KiB more are unread, as libsndfile reads ahead
    if unread > size // 8 and (sound.format not in _CHUNKED or _NO_CHUNK.search(log)):
        secs = num_read / sound.samplerate
        raise DataError(f'ends after {secs:.2f} s by its header, but {unread} of {size} bytes follow; {REPAIR}')
    if sound.format == 'NIST' and (count := _NIST_COUNT.search(os.pread(sound.name, 1024, 0))):
        num_samples = int(count[1])  # libsndfile does not compare it
    if num_read < num_samples < _UNKNOWN_LENGTH and sound.format != 'MP3':
        raise DataError(f'cut short: {num_read} samples of {num_samples}; copy it again')
    for claimed, found in _SHORT.findall(log) + _SHORT_AIFF.findall(log):
        if int(claimed) > int(found) + 1 and not any(low <= int(claimed) < high for low, high in _STREAMED):
            raise DataError(f'cut short: {found} of {claimed}; copy it again')
    if not num_read:
        raise DataError('has no samples; copy it again, or remove it and its transcript')
    # the length of an MP3 is counted in its header or estimated from its first bit rate; a frame has 1152 samples
    is_short = sound.format == 'MP3' and num_read + 2 * 1152 < 0.9 * sound.frames
    return [f'ends after {num_read} samples of about {sound.frames}; it may be cut short'] if is_short else []


class Levels:
    """Statistics of a signal that show faults of the recording."""

    _peak, _num_samples, _num_zeros, _num_clipped = 0.0, 0, 0, 0

    def add(self, block: np.ndarray) -> None:
        """Adds samples `[samples, channels]`; a `DataError` if one is not finite or far above full scale."""
        loudness = np.abs(block)
        peak = float(loudness.max(initial=0))
        if not peak <= MAX_PEAK:
            what = f'of {peak:g}, where 1 is full scale' if np.isfinite(peak) else 'that are not finite numbers'
            raise DataError(f'has samples {what}; record or convert it again')
        self._peak = max(self._peak, peak)
        self._num_samples += block.size
        self._num_zeros += block.size - int(np.count_nonzero(block))
        if peak >= 0.99:
            self._num_clipped += int(np.sum((loudness[1:] >= 0.99) & (block[1:] == block[:-1])))

    def suspicions(self) -> list[str]:
        """A text for each sign of a fault."""
        zeros, clipped = self._num_zeros / self._num_samples, self._num_clipped / self._num_samples
        signs = [
            (zeros > 0.5, f'{zeros:.0%} of its samples are exactly 0'),
            (0 < self._peak < 1e-3, f'hardly any sound: its peak is {self._peak:.1g}, where 1 is full scale'),
            (self._peak > 2, f'its peak is {self._peak:.3g}, where 1 is full scale'),
            (clipped > 0.01, f'clipped: {clipped:.0%} of its samples stay at full scale'),
        ]
        return [text for holds, text in signs if holds]
