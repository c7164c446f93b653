"""Saved posteriors: what the acoustic model said of an index, so that decoding it again does not run the model again.

One file an index, in the format of `numpy.savez`: ``ROW.npy``, float16 `[frames, classes]`, the log posteriors of each
utterance, and ``about.json`` with a `PosteriorsInfo`. Rounding to float16 moves the score of a text by about 0.01; an
hour of English takes 10 MB.
"""

import contextlib
import io
import json
import logging
import os
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from utils.errors import DataError
from utils.files import replacing

log = logging.getLogger(__name__)

POSTERIORS_NAME = 'posteriors.npz'
INFO_NAME = 'about.json'
FORMAT = 1
LEAST_LOG_PROB = -1e4  # float16 has no numbers below -65504, and arithmetic with infinity is best avoided


@dataclass(frozen=True)
class PosteriorsInfo:
    """Where posteriors are from.

    Attributes:
      run: the run directory.
      checkpoint: which of its checkpoints was asked for: best, latest or average.
      weights: that checkpoint's name.
      index: the path of the index.
      tokens: of the run's vocabulary; the blank is the class after them.
      secs_per_frame: seconds between output frames.
      keys: the feature files, in the order of the index.
    """

    run: str
    checkpoint: str
    weights: str
    index: str
    tokens: tuple[str, ...]
    secs_per_frame: float
    keys: tuple[str, ...]


class PosteriorsWriter:
    """Takes posteriors in any order of utterances, one batch at a time, and keeps none of them in memory."""

    def __init__(self, archive: zipfile.ZipFile):
        self._archive = archive
        self._rows: set[int] = set()

    def add(self, rows: Sequence[int], log_probs: np.ndarray, lengths: Sequence[int]) -> None:
        """Writes a batch: the utterances' places in the index, `[batch, frames, classes]`, and their frames."""
        for row, utterance, length in zip(rows, log_probs, lengths, strict=True):
            rounded = np.maximum(utterance[:length], LEAST_LOG_PROB).astype(np.float16)
            buffer = io.BytesIO()
            np.save(buffer, rounded)
            self._archive.writestr(f'{int(row)}.npy', buffer.getvalue())
            self._rows.add(int(row))

    def finish(self, info: PosteriorsInfo) -> None:
        """Writes where they are from."""
        if self._rows != set(range(len(info.keys))):
            raise ValueError(f'posteriors of {len(self._rows)} utterances for {len(info.keys)} keys')
        text = json.dumps({'format': FORMAT, **asdict(info)}, ensure_ascii=False, allow_nan=False)
        self._archive.writestr(INFO_NAME, text)


@contextlib.contextmanager
def writing_posteriors(path: str | os.PathLike) -> Iterator[PosteriorsWriter]:
    """Writes a file of posteriors, whole or not at all; its directory is made."""
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as temporary_path, zipfile.ZipFile(temporary_path, 'w') as archive:
        yield PosteriorsWriter(archive)


class Posteriors(Sequence):
    """The posteriors in a file, read when they are asked for: float32 `[frames, classes]` of each utterance.

    Attributes:
      path: of the file.
      info: where they are from.
    """

    def __init__(self, path: str | os.PathLike):
        """Opens a file.

        Raises:
          DataError: it is none, or damaged.
        """
        self.path = str(path)
        try:
            self._archive = zipfile.ZipFile(path)
            fields = json.loads(self._archive.read(INFO_NAME))
            if fields.pop('format') != FORMAT:
                raise ValueError('another format')
            fields = {name: tuple(value) if isinstance(value, list) else value for name, value in fields.items()}
            self.info = PosteriorsInfo(**fields)
        except (zipfile.BadZipFile, ValueError, KeyError, TypeError, AttributeError) as error:
            raise DataError(
                f'{path}: no posteriors that run_test.py --save_posteriors wrote ({error}); write them again'
            ) from error

    def __len__(self) -> int:
        return len(self.info.keys)

    def __getitem__(self, row):
        if isinstance(row, slice):
            return [self[each] for each in range(*row.indices(len(self)))]
        if not 0 <= row < len(self):
            raise IndexError(row)
        try:
            return np.load(io.BytesIO(self._archive.read(f'{row}.npy'))).astype(np.float32)
        except (zipfile.BadZipFile, ValueError, KeyError) as error:
            raise DataError(f'{self.path}: damaged ({error}); write it again') from error

    def check(self, index_path: str, keys: Sequence[str], tokens: Sequence[str], checkpoint: str) -> None:
        """Refuses posteriors of other utterances, of another vocabulary or of another checkpoint.

        Raises:
          DataError: says which of them.
        """
        info, remedy = self.info, 'write them again with run_test.py --save_posteriors'
        if [os.path.basename(key) for key in keys] != [os.path.basename(key) for key in info.keys]:
            raise DataError(f'{self.path}: of the utterances of {info.index}, not of those of {index_path}; {remedy}')
        if tuple(tokens) != info.tokens:
            raise DataError(f'{self.path}: of the run {info.run}, which has another vocabulary; {remedy}')
        if checkpoint != info.checkpoint:
            raise DataError(
                f'{self.path}: of the checkpoint {info.checkpoint}, not {checkpoint}; '
                f'give --checkpoint {info.checkpoint}, or {remedy}'
            )


def open_posteriors(
    directory: str | os.PathLike,
    name: str,
    index_path: str,
    keys: Sequence[str],
    tokens: Sequence[str],
    checkpoint: str,
) -> Posteriors:
    """The posteriors of an index below a directory of results, checked; see `Posteriors.check`."""
    path = Path(directory) / name / POSTERIORS_NAME
    if not path.exists():
        raise DataError(f'{path}: no such file; make it with run_test.py -t {index_path} --save_posteriors')
    posteriors = Posteriors(path)
    posteriors.check(index_path, keys, tokens, checkpoint)
    log.info('%s: posteriors of %s (%s)', path, posteriors.info.weights, checkpoint)
    return posteriors
