"""Audio from a pipe: raw 16-bit samples, or a WAV whose header may not give its length."""

import struct
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np

from utils.errors import DataError

Read = Callable[[int], bytes]  # returns what there is, at most so many bytes; none at the end
READ_BYTES = 1 << 16
_COMPRESSED = {b'fLaC': 'FLAC', b'OggS': 'Ogg', b'ID3': 'MP3', b'\xff\xfb': 'MP3', b'FORM': 'AIFF', b'caff': 'CAF'}
_UNKNOWN_SIZE = 0x7FF00000  # sizes from here on, and 0, stand in the header of a WAV that was written to a pipe
_PCM, _FLOAT, _EXTENSIBLE = 1, 3, 0xFFFE
_MAX_HEADER = 1 << 20


class Format(NamedTuple):
    """Samples a second, channels, type of a sample, and bytes of samples (None: until the end)."""

    rate: int
    channels: int
    dtype: str
    num_bytes: int | None


def read_pcm(read: Read, name: str, rate: int) -> tuple[int, Iterator[np.ndarray]]:
    """Reads audio as it comes.

    Args:
      read: function that reads from the file or pipe.
      name: its name for messages.
      rate: samples a second of raw samples; the header of a WAV has its own.

    Returns:
      Samples a second, and blocks of samples as soon as they are there: float32 `[samples]`, channels averaged.

    Raises:
      DataError: no audio, another format, or a damaged header; from the iterator an end within a sample or before the
        length that the header gives, after the last block.
    """
    head = _read_exactly(read, 4)
    if not head:
        raise DataError(f'{name}: no audio: the input is empty; send raw 16-bit samples or a WAV')
    for magic, kind in _COMPRESSED.items():
        if head.startswith(magic):
            raise DataError(f'{name}: {kind}, not raw samples or WAV; leave --stream out, or convert it with ffmpeg')
    if head == b'RIFF':
        found, head = _wav_format(read, name), b''
    elif head in (b'RIFX', b'RF64'):
        raise DataError(f'{name}: {head.decode()}, which is not read from a pipe; leave --stream out, or convert it')
    else:
        found = Format(rate, 1, '<i2', None)
    return found.rate, _blocks(read, name, found, head)


def _read_exactly(read: Read, size: int) -> bytes:
    """The next bytes; fewer at the end."""
    data = b''
    while len(data) < size and (more := read(size - len(data))):
        data += more
    return data


def _wav_format(read: Read, name: str) -> Format:
    """Reads the header of a WAV after its first four bytes, as far as the samples."""
    found, wave = b'', _read_exactly(read, 8)
    while wave[4:] == b'WAVE' and len(chunk := _read_exactly(read, 8)) == 8:
        kind, size = chunk[:4], struct.unpack('<I', chunk[4:])[0]
        if kind == b'data' and found:
            return _parse_format(found, name)._replace(num_bytes=size if 0 < size < _UNKNOWN_SIZE else None)
        if size > _MAX_HEADER:
            break
        body = _read_exactly(read, size + size % 2)
        if kind == b'fmt ' and size >= 16:
            found = body
    raise DataError(f'{name}: damaged WAV header: no samples follow it; record or convert it again')


def _parse_format(chunk: bytes, name: str) -> Format:
    code, channels, rate, _, _, bits = struct.unpack('<HHIIHH', chunk[:16])
    if code == _EXTENSIBLE and len(chunk) >= 26:
        code = struct.unpack('<H', chunk[24:26])[0]
    dtype = {(_PCM, 16): '<i2', (_PCM, 32): '<i4', (_FLOAT, 32): '<f4'}.get((code, bits))
    if not dtype:
        raise DataError(f'{name}: WAV of {bits} bits, format {code}; send 16-bit samples')
    if not 1 <= channels <= 64 or not 1000 <= rate <= 768_000:
        raise DataError(f'{name}: damaged WAV header: {channels} channels, {rate} samples a second; record it again')
    return Format(rate, channels, dtype, None)


def _blocks(read: Read, name: str, found: Format, data: bytes) -> Iterator[np.ndarray]:
    frame, left = found.channels * np.dtype(found.dtype).itemsize, found.num_bytes
    num_read = len(data)
    while left is None or num_read < left:
        more = read(READ_BYTES if left is None else min(READ_BYTES, left - num_read))
        num_read += len(more)
        data += more
        if whole := len(data) // frame * frame:
            samples = np.frombuffer(data[:whole], found.dtype).reshape(-1, found.channels)
            scale = 1.0 if found.dtype == '<f4' else 2.0 ** (1 - 8 * samples.itemsize)
            yield (samples * np.float32(scale)).mean(axis=1, dtype=np.float32)
            data = data[whole:]
        if not more:
            break
    if left is not None and num_read < left:
        raise DataError(f'{name}: cut short: {num_read} bytes of samples of {left}; record or copy it again')
    if data:
        raise DataError(f'{name}: ends within a sample after {num_read} bytes; is it raw 16-bit audio?')
    if not num_read:
        raise DataError(f'{name}: no audio: no sample after the header; record or copy it again')
