"""The binary form of an n-gram model: a header and the arrays as they lie in memory, mapped when read.

An n-gram takes 20 bytes, one of the highest order 12: about 16 on average. The file is
made beside the ARPA file and forgotten when that changes.
"""

import hashlib
import json
import logging
import os
from pathlib import Path

import numpy as np

from utils.files import replacing
from utils.lm.ngram_tables import NgramTables

log = logging.getLogger(__name__)

MAGIC = b'ngram-cache-1\n'
ALIGNMENT = 64
HASHED_BYTES = 1 << 16


def cache_paths(path: Path) -> list[Path]:
    """Where the cache of an ARPA file may lie: beside it, else in the user's cache directory."""
    root = Path(os.environ.get('XDG_CACHE_HOME') or Path.home() / '.cache')
    name = hashlib.sha1(os.fsencode(path.absolute())).hexdigest()[:16]
    return [path.with_name(path.name + '.cache'), root / 'ngram-models' / f'{path.name}-{name}.cache']


def fingerprint(path: Path) -> list:
    """What tells that a file has changed: its size, its time and a hash of its ends."""
    status = path.stat()
    digest = hashlib.sha1()
    with open(path, 'rb') as file:
        digest.update(file.read(HASHED_BYTES))
        file.seek(max(0, status.st_size - HASHED_BYTES))
        digest.update(file.read(HASHED_BYTES))
    return [status.st_size, status.st_mtime_ns, digest.hexdigest()]


def read_cache(path: Path) -> tuple[int, str, NgramTables] | None:
    """The order, the words (one a line) and the tables of an ARPA file from its cache; None without a valid one."""
    current = fingerprint(path)
    for cache_path in cache_paths(path):
        try:
            found = _read(cache_path, current)
        except (OSError, ValueError, KeyError) as error:
            if cache_path.exists():
                log.warning('%s is of no use (%s); making it again', cache_path, error)
            continue
        if found is not None:
            return found
    return None


def _read(cache_path: Path, current: list) -> tuple[int, str, NgramTables] | None:
    with open(cache_path, 'rb') as file:
        if file.read(len(MAGIC)) != MAGIC:
            return None
        header = json.loads(file.readline())
    if header['fingerprint'] != current:
        return None
    if header['size'] != cache_path.stat().st_size:
        raise ValueError('it is cut off')
    data = np.asarray(np.memmap(cache_path, np.uint8, 'r'))
    arrays = {
        name: data[start : start + count * np.dtype(kind).itemsize].view(kind)
        for name, (kind, start, count) in header['arrays'].items()
    }
    text = arrays.pop('word_text').tobytes().decode()
    return header['order'], text, NgramTables(**arrays)


def write_cache(path: Path, order: int, word_text: str, tables: NgramTables) -> Path | None:
    """Writes the cache of an ARPA file, whole or not at all; returns its path, None where no place can be written."""
    arrays = {'word_text': np.frombuffer(word_text.encode(), np.uint8), **tables._asdict()}
    current = fingerprint(path)
    for cache_path in cache_paths(path):
        try:
            cache_path.parent.mkdir(parents=True, exist_ok=True)
            with replacing(cache_path) as temporary_path:
                _write(temporary_path, {'order': order, 'fingerprint': current}, arrays)
            return cache_path
        except OSError as error:
            reason = error
    log.warning('%s could not be cached (%s); it will be read again next time', path, reason)
    return None


def _write(path: Path, header: dict, arrays: dict[str, np.ndarray]) -> None:
    # the header's own length moves the arrays, so it gets room that never depends on the numbers
    start = -(-(len(MAGIC) + len(json.dumps(header)) + 80 * (len(arrays) + 1)) // ALIGNMENT) * ALIGNMENT
    places = {}
    for name, array in arrays.items():
        places[name] = (array.dtype.str, start, len(array))
        start = -(-(start + array.nbytes) // ALIGNMENT) * ALIGNMENT
    text = json.dumps({**header, 'arrays': places, 'size': start}).encode() + b'\n'
    with open(path, 'wb') as file:
        file.write(MAGIC + text)
        for name, array in arrays.items():
            file.seek(places[name][1])
            file.write(np.ascontiguousarray(array).data if len(array) else b'')
        file.truncate(start)
