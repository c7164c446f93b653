"""The index of a data set: JSON Lines with one utterance per line, held in memory as columns."""

import functools
import itertools
import json
import logging
import os
import shutil
import zlib
from array import array
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated

import msgspec
import numpy as np

from utils.data.feature_file import read_feature_shape, read_features
from utils.data.features import FeatureSpec
from utils.errors import CONTROL, DataError
from utils.files import BYTE_ORDER_MARK, decode_json, replacing, write_text

log = logging.getLogger(__name__)

_CHUNK = 8192  # transcripts per update of the checksum
_REMEDY = 'repair it or preprocess again'


@dataclass(frozen=True)
class Index:
    """Utterances as columns; a million of them as objects would take gigabytes.

    Attributes:
      keys: paths of the npz files, absolute or relative to the working directory.
      frames: int32 `[utterances]`.
      durations: float32 `[utterances]`, seconds.
      texts: the transcripts.
      spec: kind of features; None only in an empty index.
      index_paths: paths of the index files.
      origins: int32 `[utterances, 2]`, position in ``index_paths`` and line number from 1 of each utterance.
    """

    keys: list[str]
    frames: np.ndarray
    durations: np.ndarray
    texts: list[str]
    spec: FeatureSpec | None
    index_paths: list[str]
    origins: np.ndarray

    @property
    def fingerprint(self) -> str:
        """Number of utterances and checksum of their lengths and texts; independent of the paths."""
        checksum = zlib.crc32(self.frames.tobytes())
        for first in range(0, len(self), _CHUNK):  # joined all at once, the transcripts would take twice the memory
            checksum = zlib.crc32('\n'.join(self.texts[first : first + _CHUNK]).encode(), checksum)
        return f'{len(self)} utterances, {checksum:08x}'

    def __len__(self) -> int:
        return len(self.keys)

    def where(self, row: int) -> str:
        """Place of an utterance, for messages: ``train.json line 812 (84-121-0003)``."""
        file, line = self.origins[row]
        return f'{self.index_paths[file]} line {line} ({self.utterance_id(row)})'

    def utterance_id(self, row: int) -> str:
        """Name of the npz file without its suffix."""
        return os.path.basename(self.keys[row]).removesuffix('.npz')

    def features(self, row: int, num_features: int) -> np.ndarray:
        """Features of an utterance, float32 `[frames, num_features]`; see `feature_file.read_features`."""
        return read_features(self.keys[row], (int(self.frames[row]), num_features), self.where(row))

    def identities(self) -> np.ndarray:
        """Hash of each feature file's path, links and ``..`` resolved, int64 `[utterances]`."""
        folder = functools.cache(os.path.realpath)
        parts = (key.rpartition(os.sep) for key in self.keys)
        return np.fromiter((hash((folder(parent + sep), name)) for parent, sep, name in parts), np.int64, len(self))

    def take(self, rows: Sequence[int] | np.ndarray) -> 'Index':
        """Index of the utterances in ``rows``, in that order."""
        rows = np.asarray(rows, np.int64)
        return Index(
            keys=[self.keys[row] for row in rows],
            frames=self.frames[rows],
            durations=self.durations[rows],
            texts=[self.texts[row] for row in rows],
            spec=self.spec,
            index_paths=self.index_paths,
            origins=self.origins[rows],
        )


def read_index(paths: Sequence[str], verify: bool = False) -> Index:
    """Reads one or more indexes as one.

    Lines need ``key``, ``duration`` and ``texts``; missing ``frames`` and ``features`` are read from the npz.

    Args:
      paths: the index files. Utterances that they name more than once are counted in the log.
      verify: read the headers of all feature files, so that one that is damaged or of another length is found now.

    Raises:
      DataError: a line is broken or lacks a field, an npz is missing or damaged, features are of two kinds, or a file
        has no utterances.
    """
    keys: list[str] = []
    texts: list[str] = []
    durations, frames, origins = array('f'), array('i'), array('i')  # 4 bytes a number, where a list takes 32
    specs: dict[str | None, int] = {}  # first row of each kind of features; None: lines without a kind
    for file, path in enumerate(paths):
        prefix, first = os.path.join(os.path.dirname(path), ''), len(keys)
        for number, line in _read_lines(path):
            specs.setdefault(line.features, len(keys))
            keys.append(line.key if line.key.startswith(os.sep) else prefix + line.key)
            texts.append(line.texts)
            durations.append(line.duration)
            frames.append(line.frames)
            origins.extend((file, number))
        if len(keys) == first:
            raise DataError(f'{path}: no utterances in it; run the preprocessing again')
    columns = np.array(frames, np.int32), np.array(durations, np.float32), texts
    index = Index(keys, *columns, None, list(paths), np.array(origins, np.int32).reshape(-1, 2))
    _check_files_exist(index)
    _warn_of_repetitions(index)
    return _fill_from_files(index, specs, verify)


class _Line(msgspec.Struct, gc=False):
    """The fields of a line that are used; frames is 0 and features None where the line lacks them."""

    key: Annotated[str, msgspec.Meta(min_length=1)]
    duration: Annotated[float, msgspec.Meta(gt=0, le=1e7)]
    texts: str
    frames: Annotated[int, msgspec.Meta(ge=1, lt=2**31)] = 0
    features: str | None = None


def _read_lines(path: str) -> Iterator[tuple[int, _Line]]:
    """Numbers and contents of the lines of an index; a `DataError` names the first that is broken."""
    with open(path, 'rb') as stream:
        for number, text in enumerate(stream, 1):
            text = text.removeprefix(BYTE_ORDER_MARK)
            if not text.isspace():
                line = decode_json(text, _Line, path, 'an utterance', _REMEDY, number)
                if CONTROL.search(line.key):
                    raise DataError(f'{path} line {number}: control characters in the key {ascii(line.key)}; {_REMEDY}')
                yield number, line


def _check_files_exist(index: Index) -> None:
    missing = [row for row, key in enumerate(index.keys) if not os.path.exists(key)]
    if missing:
        others = f' (and {len(missing) - 1} more of {len(index)})' if len(missing) > 1 else ''
        raise DataError(
            f'{index.where(missing[0])}: {index.keys[missing[0]]} is missing{others}; '
            f'run the preprocessing again, or give the index of the folder you moved them to'
        )


def _warn_of_repetitions(index: Index) -> None:
    _, rows = np.unique(index.identities(), return_index=True)
    if len(rows) < len(index):
        row = int(np.setdiff1d(np.arange(len(index)), rows)[0])
        where, repeated = index.where(row), len(index) - len(rows)
        log.warning('%d utterances are named again, and count again; the first: %s', repeated, where)


def _fill_from_files(index: Index, specs: dict[str | None, int], verify: bool) -> Index:
    """Reads missing fields from the npz headers; a `DataError` if features are of two kinds or not as long as named."""
    named: dict[FeatureSpec, int] = {}
    for text, row in specs.items():
        try:
            of_file = text is None and FeatureSpec.of_featlen(read_feature_shape(index.keys[row])[1])
            named.setdefault(of_file or FeatureSpec.parse(str(text)), row)
        except DataError as error:
            raise DataError(f'{index.where(row)}: {error}') from error
    if len(named) > 1:
        (one, row), (other, other_row) = itertools.islice(named.items(), 2)
        raise DataError(
            f'{index.where(row)} has features {one} but {index.where(other_row)} has {other}; give indexes of one kind'
        )
    spec = next(iter(named))
    for row in range(len(index)) if verify else np.flatnonzero(index.frames == 0).tolist():
        frames = index.frames[row]
        try:
            index.frames[row], featlen = read_feature_shape(index.keys[row])
        except DataError as error:
            raise DataError(f'{index.where(row)}: {error}') from error
        if featlen != spec.featlen:
            raise DataError(f'{index.where(row)}: features of {featlen} dimensions, not {spec.featlen} like the others')
        if frames not in (0, index.frames[row]):
            raise DataError(f'{index.where(row)}: {frames} frames, but {index.frames[row]} in its file; {_REMEDY}')
    return Index(**{**vars(index), 'spec': spec})


def write_index(path: str, entries: Iterable[dict]) -> None:
    """Writes an index atomically. An existing one with other contents is kept as ``path.bak``."""
    text = ''.join(json.dumps(entry, ensure_ascii=False) + '\n' for entry in entries)
    backup_path = f'{path}.bak'
    if os.path.exists(path) and not (os.path.exists(backup_path) and _holds(path, text)):
        with replacing(backup_path) as temporary_path:  # a copy, so that an index exists at every moment
            shutil.copy2(path, temporary_path)
    write_text(path, text)


def _holds(path: str, text: str) -> bool:
    with open(path, 'rb') as stream:
        return stream.read() == text.encode('utf-8')


def index_key(npz_path: str, index_path: str) -> str:
    """The ``key`` of a feature file: relative if it is below the index, so that the folder can be moved."""
    npz_path, directory = os.path.abspath(npz_path), os.path.dirname(os.path.abspath(index_path))
    relative = os.path.relpath(npz_path, directory)
    return npz_path if relative.split(os.sep)[0] == os.pardir else relative
