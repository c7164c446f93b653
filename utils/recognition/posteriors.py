"""Saved CTC posteriors of an index, which can be decoded again without running the acoustic model.

One file per index, in the format of `numpy.savez`. Log-probabilities are rounded to float16, which moves the score of a
text by about 0.01; an hour of English takes 10 MB.
"""

import hashlib
import logging
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from utils.data.arrays import read_arrays
from utils.data.index import Index
from utils.decode.hypothesis import Hypothesis
from utils.errors import DataError
from utils.files import replacing
from utils.pack.archive import find_packed, packed_checkpoint

if TYPE_CHECKING:
    from utils.decode.decoder import CtcDecoder
    from utils.decode.text_mean import TextMeanDecoder

log = logging.getLogger(__name__)

POSTERIORS_NAME = 'posteriors.npz'
LEAST_LOG_PROB = -1e4  # float16 has no numbers below -65504, and arithmetic with infinity is best avoided
UTTERANCES_AT_ONCE = 64  # enough for any number of cores, and little memory
REMEDY = 'write them again with run_test.py --save_posteriors'


def rounded(log_probs: np.ndarray) -> np.ndarray:
    """Log-probabilities as they are saved: float16, finite."""
    return np.maximum(log_probs, LEAST_LOG_PROB).astype(np.float16)


def weights_id(path: str | os.PathLike) -> str:
    """Name of a checkpoint with a hash of its index file, which holds a checksum of each tensor.

    A packed run has the identity of the checkpoint that was packed, and its type where that is not float32.
    """
    if packed := packed_checkpoint(path):
        return packed.manifest.weights
    return f'{Path(path).name} ({hashlib.sha256(Path(f"{path}.index").read_bytes()).hexdigest()[:12]})'


def find_weights(run_dir: str | os.PathLike, checkpoint: str) -> str:
    """The `weights_id` of a run's `best`, `latest` or `average` checkpoint, without TensorFlow; '' if there is none."""
    if packed := find_packed(run_dir):
        return packed.manifest.weights
    directory = Path(run_dir) / 'checkpoints'
    wanted, best = r'average-\d+' if checkpoint == 'average' else r'model-\d+', directory / 'best.json'
    if checkpoint == 'best':
        wanted = ''.join(re.findall(r'"name": "([a-z]+-\d+)"', best.read_text())) if best.exists() else ''
    names = [path.stem for path in directory.glob('*.index') if re.fullmatch(wanted, path.stem)]
    newest = max(names, key=lambda name: int(name.split('-')[1]), default='')
    return weights_id(directory / newest) if newest else ''


@dataclass(frozen=True)
class Posteriors:
    """Log-posteriors of the utterances of an index, and their origin.

    Attributes:
      log_probs: float16 `[frames, classes]` of all utterances, one after another in the order of the index.
      lengths: number of frames of each utterance.
      keys: feature files, in the order of the index.
      tokens: tokens of the vocabulary; the blank is the class after them.
      run: run directory.
      checkpoint: best, latest or average.
      weights: its `weights_id`; in files of older versions the name alone.
      index: path of the index.
    """

    log_probs: np.ndarray
    lengths: np.ndarray
    keys: Sequence[str]
    tokens: Sequence[str]
    run: str
    checkpoint: str
    weights: str
    index: str

    @classmethod
    def of(
        cls, utterances: Sequence[np.ndarray], index: Index, tokens: Sequence[str], run: str, checkpoint: str,
        weights: str,
    ) -> 'Posteriors':  # fmt: skip
        """Joins the `rounded` log-probabilities of each utterance of an index."""
        lengths = np.array([len(each) for each in utterances])
        origin = list(index.keys), list(tokens), run, checkpoint, weights, ' '.join(index.index_paths)
        return cls(np.concatenate(utterances), lengths, *origin)

    def save(self, directory: str | os.PathLike) -> None:
        """Writes DIRECTORY/posteriors.npz atomically; makes the directory where it is missing."""
        path = Path(directory) / POSTERIORS_NAME
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as temporary_path, open(temporary_path, 'wb') as file:
            np.savez(file, **vars(self))
        log.info('posteriors of %s in %s', self.weights, path)

    @classmethod
    def load(cls, path: str | os.PathLike) -> 'Posteriors':
        """Reads a file of posteriors.

        Raises:
          DataError: a damaged file, or one of another kind, such as an older version wrote.
        """
        texts: dict[str, Any] = dict.fromkeys(('keys', 'tokens'), (str, (None,)))
        texts |= dict.fromkeys(('run', 'checkpoint', 'weights', 'index'), (str, ()))
        wanted = {'log_probs': (np.float16, (None, None)), 'lengths': (np.int64, (None,)), **texts}
        found = read_arrays(path, wanted, REMEDY)
        fields: dict[str, Any] = {name: each.tolist() if name in texts else each for name, each in found.items()}
        posteriors = cls(**fields)
        lengths, shape = posteriors.lengths, (sum(posteriors.lengths.tolist()), len(posteriors.tokens) + 1)
        if lengths.min() < 0 or len(lengths) != len(posteriors.keys) or posteriors.log_probs.shape != shape:
            raise DataError(f'{path}: its arrays do not fit together; {REMEDY}')
        return posteriors

    @classmethod
    def open(
        cls, directory: str | os.PathLike, index: Index, tokens: Sequence[str], checkpoint: str, weights: str = ''
    ) -> 'Posteriors':
        """Reads DIRECTORY/posteriors.npz for decoding an index.

        Raises:
          DataError: no such file, or posteriors of other utterances, another vocabulary, another checkpoint or, where
            `weights` are given, other weights.
        """
        path, index_path = Path(directory) / POSTERIORS_NAME, ' '.join(index.index_paths)
        if not path.exists():
            raise DataError(f'{path}: no such file; make it with run_test.py -t {index_path} --save_posteriors')
        found = cls.load(path)
        if [os.path.basename(key) for key in index.keys] != [os.path.basename(key) for key in found.keys]:
            raise DataError(f'{path}: of the utterances of {found.index}, not of those of {index_path}; {REMEDY}')
        if list(tokens) != list(found.tokens):
            raise DataError(f'{path}: of the run {found.run}, which has another vocabulary; {REMEDY}')
        if checkpoint != found.checkpoint:
            raise DataError(
                f'{path}: of the checkpoint {found.checkpoint}, not {checkpoint}; '
                f'give --checkpoint {found.checkpoint}, or {REMEDY}'
            )
        if weights and found.weights not in (weights, weights.split()[0]):
            raise DataError(f'{path}: of the weights {found.weights} of {found.run}, not {weights}; {REMEDY}')
        log.info('%s: posteriors of %s, %s', path, checkpoint, found.weights)
        return found

    def utterances(self) -> list[np.ndarray]:
        """Log-probabilities of each utterance, float16 `[frames, classes]`; views into one array."""
        return np.split(self.log_probs, np.cumsum(self.lengths)[:-1]) if len(self.lengths) else []

    def decode(self, decoder: 'CtcDecoder') -> list[Hypothesis]:
        """Applies a decoder of posteriors to all utterances."""
        return decode_saved([self], decoder)


def decode_saved(models: Sequence[Posteriors], decoder: 'CtcDecoder | TextMeanDecoder') -> list[Any]:
    """Applies a decoder to the posteriors of one model, or a joint one to those of several, of the same utterances."""
    utterances, hypotheses = list(zip(*(each.utterances() for each in models), strict=True)), list[Any]()
    for first in range(0, len(utterances), UTTERANCES_AT_ONCE):
        rows = utterances[first : first + UTTERANCES_AT_ONCE]
        members: Any = [[each.astype(np.float32) for each in column] for column in zip(*rows, strict=True)]
        arguments = (members,) if len(models) > 1 else (members[0], [len(each) for each in members[0]])
        hypotheses += decoder.decode(*arguments)
    return hypotheses
