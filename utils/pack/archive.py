"""A packed run: one zip file with the weights of one checkpoint and all that decoding needs, read in place.

Nothing is ever extracted. The names of the entries are those of `LARGEST` and no others; every entry is stored without
compression, so that it is no larger than the file, and its SHA-256 is in the manifest.
"""

import contextlib
import dataclasses
import hashlib
import os
import stat
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Annotated, Any, Literal

import msgspec

from utils.data.vocabulary import VOCABULARY_NAME
from utils.errors import DataError, UsageError
from utils.files import decode_json

MANIFEST_NAME, CARD_NAME, WEIGHTS_NAME = 'manifest.json', 'README.md', 'weights.safetensors'
CONFIG_NAME, STATISTICS_NAME, DECODING_NAME = 'config.json', 'feature_statistics.npz', 'decoding.json'
LM_NAMES = 'lm.arpa', 'lm.arpa.gz'
REQUIRED = MANIFEST_NAME, CONFIG_NAME, VOCABULARY_NAME, STATISTICS_NAME, WEIGHTS_NAME, CARD_NAME
REMEDY = 'make it again with scripts/pack.py, or copy it again'

_SMALL = 1 << 24
# largest size of each entry, bytes; weights and language model are bounded by the file itself
LARGEST = {**dict.fromkeys((*REQUIRED, DECODING_NAME), _SMALL), **dict.fromkeys((WEIGHTS_NAME, *LM_NAMES), 1 << 62)}
_CHUNK = 1 << 20


@dataclasses.dataclass(frozen=True)
class Manifest:
    """The contents of manifest.json.

    Attributes:
      format: version of the format.
      which: the checkpoint as it was asked for: best, latest, average or a name.
      checkpoint: its name.
      weights: its identity, see `utils.recognition.posteriors.weights_id`.
      dtype: type of the weights in the file.
      sha256: hash of each of the other entries, hexadecimal.
    """

    format: Literal[1]
    which: str
    checkpoint: Annotated[str, msgspec.Meta(pattern=r'^(model|average)-[0-9]{1,15}\Z')]
    weights: Annotated[str, msgspec.Meta(max_length=200)]
    dtype: Literal['float32', 'float16', 'bfloat16']
    sha256: dict[str, str]


@dataclasses.dataclass(frozen=True)
class PackedRun:
    """An opened file: its path and manifest. Entries are read when they are asked for."""

    path: str
    manifest: Manifest

    @classmethod
    def open(cls, path: str | os.PathLike) -> 'PackedRun':
        """Checks the directory of the zip file and reads the manifest.

        Raises:
          DataError: no packed run, or a damaged one.
        """
        with _opened(path := os.fspath(path)) as archive:
            entries = _check_entries(archive)
            manifest = decode_json(
                archive.read(MANIFEST_NAME), Manifest, f'{path}/{MANIFEST_NAME}', 'the manifest of a packed run', REMEDY
            )
            if manifest.sha256.keys() != entries - {MANIFEST_NAME}:
                raise ValueError('its manifest lists other files than it has')
            return cls(path, manifest)

    def read(self, name: str) -> bytes:
        """The content of an entry, whose hash is checked; a `DataError` if it is damaged."""
        with self.stream(name) as file:
            return file.read()

    @contextlib.contextmanager
    def stream(self, name: str) -> Iterator[IO[bytes]]:
        """Opens an entry for reading and seeking, once its hash is checked; a `DataError` if it is damaged."""
        with _opened(self.path) as archive:
            _check_entries(archive)
            file: Any = archive.open(name)
            if hashlib.file_digest(file, 'sha256').hexdigest() != self.manifest.sha256[name]:
                raise ValueError(f'{name} has another SHA-256 than its manifest lists')
            file.seek(0)
        with file:  # outside the block above: what fails from here on is the reader's
            yield file

    @property
    def lm_name(self) -> str:
        """Name of the entry with the language model; a `DataError` if there is none."""
        found = [name for name in LM_NAMES if name in self.manifest.sha256]
        if not found:
            raise DataError(f'{self.path}: holds no language model; name an ARPA file, or pack one with --lm')
        return found[0]

    def resolve(self, which: str, option: str) -> str:
        """The name of the checkpoint; it is the default `best` too.

        Raises:
          DataError: another checkpoint is asked for.
        """
        if which not in ('best', self.manifest.which, self.manifest.checkpoint):
            raise DataError(
                f'{self.path}: holds the checkpoint {self.manifest.checkpoint} ({self.manifest.which}) alone, not '
                f'{which}; leave {option} out'
            )
        return self.manifest.checkpoint


@contextlib.contextmanager
def _opened(path: str) -> Iterator[zipfile.ZipFile]:
    """Opens a zip file; any failure in the block becomes a `DataError` that names it."""
    try:
        with zipfile.ZipFile(path) as archive:
            yield archive
    except DataError:
        raise
    except Exception as error:  # zipfile raises errors of a dozen types for damaged files
        reason = getattr(error, 'strerror', None) or ' '.join(str(error).split()) or type(error).__name__
        raise DataError(f'{path}: no packed run, or damaged ({reason}); {REMEDY}') from None


def _check_entries(archive: zipfile.ZipFile) -> set[str]:
    """Names of the entries; a ValueError for one that a packed run does not have, or for another form of one."""
    entries = archive.infolist()
    names = {entry.filename for entry in entries}
    for entry in entries:
        name, kind = entry.orig_filename, stat.S_IFMT(entry.external_attr >> 16)
        if name not in LARGEST:
            raise ValueError(f'a file {ascii(name[:80])} in it, which is none of a packed run')
        if kind not in (0, stat.S_IFREG) or entry.flag_bits & 1:
            raise ValueError(f'{name} is a link, a special file or encrypted')
        if entry.compress_type != zipfile.ZIP_STORED or entry.compress_size != entry.file_size:
            raise ValueError(f'{name} is compressed')
        if entry.file_size > LARGEST[name]:
            raise ValueError(f'{name} of {entry.file_size} bytes, at most {LARGEST[name]}')
    if len(names) < len(entries) or len(names & {*LM_NAMES}) > 1:
        raise ValueError('a file in it is there twice')
    if missing := next((name for name in REQUIRED if name not in names), ''):
        raise ValueError(f'no {missing} in it')
    # entries that overlap would let a small file hold much
    if sum(entry.file_size for entry in entries) > os.fstat(archive.fp.fileno()).st_size:  # type: ignore[union-attr]
        raise ValueError('its files are larger than itself')
    return names


def find_packed(run: str | os.PathLike) -> PackedRun | None:
    """The packed run at a path; None for a directory, or where nothing is.

    Raises:
      DataError: a file that is no packed run, or a damaged one.
    """
    return PackedRun.open(run) if os.path.isfile(run) else None


def packed_checkpoint(path: str | os.PathLike) -> PackedRun | None:
    """The packed run of a checkpoint's path RUN/checkpoints/NAME; None for one in a directory."""
    return find_packed(Path(path).parents[1])


def read_run_file(run: str | os.PathLike, name: str) -> bytes | None:
    """Content of a file of a run, a directory or a packed one; None where it has no such file.

    Raises:
      DataError: a damaged packed run.
    """
    if packed := find_packed(run):
        return packed.read(name) if name in packed.manifest.sha256 else None
    path = Path(run) / name
    return path.read_bytes() if path.is_file() else None


@contextlib.contextmanager
def open_lm(path: str | os.PathLike) -> Iterator[Any]:
    """Opens the file of a language model, or that in a packed run, for reading and seeking."""
    with open(path, 'rb') as file:
        if file.peek(4)[:4] != b'PK\x03\x04':  # not by seeking: the file may be a pipe
            yield file
            return
    packed = PackedRun.open(path)
    with packed.stream(packed.lm_name) as stream:
        yield stream


def require_directory(run: str | os.PathLike, what: str, remedy: str) -> None:
    """Raises a `UsageError` for a file, into which nothing is written: `what` would be, and `remedy` is where else."""
    if os.path.isfile(run):
        raise UsageError(f'-s {run} is a file, and {what} goes into a run directory; {remedy}')


def write_archive(path: str | os.PathLike, manifest: Manifest, files: dict[str, bytes], lm: str | None) -> None:
    """Writes a packed run; equal contents give equal bytes.

    Args:
      path: the file to write.
      manifest: the manifest, without the hashes.
      files: contents of the entries by name, all but the manifest and the language model.
      lm: path of the language model; None: none.
    """
    hashes = {name: hashlib.sha256(data).hexdigest() for name, data in files.items()}
    lm_name = ''
    if lm:
        with open(lm, 'rb') as file:
            lm_name = LM_NAMES[file.read(2) == b'\x1f\x8b']
            file.seek(0)
            hashes[lm_name] = hashlib.file_digest(file, 'sha256').hexdigest()
    manifest = dataclasses.replace(manifest, sha256=hashes)
    first = {MANIFEST_NAME: msgspec.json.format(msgspec.json.encode(manifest), indent=1) + b'\n'}
    with zipfile.ZipFile(path, 'w') as archive:
        for name, data in (first | files).items():
            archive.writestr(_entry(name), data)
        if lm:
            entry = _entry(lm_name)
            entry.file_size = os.path.getsize(lm)  # by which zipfile chooses the form of large files
            with open(lm, 'rb') as source, archive.open(entry, 'w') as target:
                while chunk := source.read(_CHUNK):
                    target.write(chunk)


def _entry(name: str) -> zipfile.ZipInfo:
    entry = zipfile.ZipInfo(name)  # of 1980, whatever the clock
    entry.external_attr = (stat.S_IFREG | 0o644) << 16
    return entry
