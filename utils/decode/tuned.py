"""The weights that scripts/tune_lm.py found for a run's language models, kept in the run directory."""

import itertools
import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from utils.decode.spelling_decoder import SPELLING_FLAGS
from utils.errors import DataError
from utils.files import write_text

DECODING_NAME = 'decoding.json'


@dataclass(frozen=True)
class Tuned:
    """What one language model decodes best with.

    Attributes:
      lm: the path of its file.
      lm_id: the size and a hash of that file, which know it elsewhere too.
      unit: 'word' or 'char'.
      lm_weight, word_bonus: the weights.
      beam_width: that they were found with.
      lexicon: what words were allowed; see `decoder.Decoding`.
      checkpoint: of the run.
      dev: the indexes that they were tuned on.
      wer, cer: there, as fractions; None where texts have no words.
      wer_without, cer_without: the same, greedily decoded.
      speller: las: how its beam searched, by the names of its flags; what is not there was left as it is.
    """

    lm: str
    lm_id: str
    unit: str
    lm_weight: float
    word_bonus: float
    beam_width: int
    lexicon: str
    checkpoint: str
    dev: tuple[str, ...]
    wer: float | None
    cer: float
    wer_without: float | None
    cer_without: float
    speller: dict[str, float] = field(default_factory=dict)


def lm_id(path: str | os.PathLike) -> str:
    """What tells a language model's file from others, wherever it lies."""
    from utils.lm.ngram import fingerprint

    size, _, digest = fingerprint(Path(path))
    return f'{size}-{digest}'


def read_tuned(run_dir: str | os.PathLike) -> list[Tuned]:
    """What was found for the run's language models, the latest last."""
    path = Path(run_dir) / DECODING_NAME
    if not path.exists():
        return []
    try:
        entries = json.loads(path.read_text(encoding='utf-8'))['language_models']
        found = [Tuned(**{**entry, 'dev': tuple(entry['dev'])}) for entry in entries]
        for name in itertools.chain(*(each.speller for each in found)):
            if name not in SPELLING_FLAGS:
                raise ValueError(f'{name} is no flag of a speller')
        return found
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(f'{path}: not what scripts/tune_lm.py writes ({error}); delete it and tune again') from error


def write_tuned(run_dir: str | os.PathLike, found: Tuned) -> Path:
    """Notes what was found for a language model, in place of what was noted for it before; returns the file."""
    path = Path(run_dir) / DECODING_NAME
    entries = [each for each in read_tuned(run_dir) if each.lm_id != found.lm_id] + [found]
    text = json.dumps({'language_models': [asdict(each) for each in entries]}, ensure_ascii=False, indent=1)
    write_text(path, text + '\n')
    return path


def find_tuned(entries: Sequence[Tuned], lm_path: str | os.PathLike) -> Tuned | None:
    """What was found for a language model; None where it was not tuned."""
    identity = lm_id(lm_path) if entries else ''
    return next((each for each in entries if each.lm_id == identity), None)
