"""Options of decoding: their flags, and the weights that scripts/tune_lm.py found, kept in the run directory."""

import argparse
import itertools
import json
import logging
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from utils.cli import count, natural, number
from utils.errors import DataError, UsageError
from utils.files import read_json, write_text

log = logging.getLogger(__name__)

DECODING_NAME = 'decoding.json'
DEFAULT_BEAM_WIDTH = 100
DEFAULT_LM_WEIGHT, DEFAULT_WORD_BONUS = 1.0, 1.0
TUNED_FLAGS = ('lm_weight', 'word_bonus', 'lexicon', 'beam_width')
SPELLER_BEAM_WIDTH = 32
DEFAULT_CTC_WEIGHT = 0.5  # where the model has a CTC head
SPELLING_FLAGS = ('ctc_decode_weight', 'coverage_weight', 'temperature', 'length_norm', 'end_threshold')


@dataclass(frozen=True)
class Decoding:
    """A beam search as the flags and the run directory ask for it.

    Attributes:
      beam_width: prefixes kept.
      lm: path of the language model, None without.
      lm_weight, word_bonus: of the language model.
      lexicon: 'yes': words that a word model lacks are forbidden; a path: those that this word model lacks are,
        beside a character model; 'no'.
      num_best: texts to return for an utterance.
      speller: las: flags of its search, by name, where they are not given on the command line.
    """

    beam_width: int = DEFAULT_BEAM_WIDTH
    lm: str | None = None
    lm_weight: float = DEFAULT_LM_WEIGHT
    word_bonus: float = DEFAULT_WORD_BONUS
    lexicon: str = 'no'
    num_best: int = 1
    speller: Mapping[str, float] = field(default_factory=dict)


def add_lm_flags(add: Callable) -> None:
    """The flags that say how to search with a language model; ``add`` is a parser's or a group's add_argument."""
    add(
        '--beam_width',
        type=natural,
        help=f'prefixes kept in a beam search; 0: greedy (default: 0, {DEFAULT_BEAM_WIDTH} with --lm; las: '
        f'{SPELLER_BEAM_WIDTH})',
    )
    add('--lm', help='n-gram model of words or characters, ARPA format, such as scripts/train_lm.py writes')
    add(
        '--lexicon',
        metavar='{yes,no,WORDS}',
        help='yes: only words of the (word) model may be found; WORDS: only those of this word model, beside a '
        'character model (default: no)',
    )


def add_decoding_flags(parser: argparse.ArgumentParser) -> None:
    """The flags that run_test.py and run_predict.py share."""
    group = parser.add_argument_group(
        'decoding', f'With --lm, what is not given is what scripts/tune_lm.py found for it ({DECODING_NAME} in RUN).'
    )
    group.add_argument(
        '--checkpoint',
        choices=('best', 'latest', 'average'),
        default='best',
        help='the best on dev, the latest, or the average of the last epochs',
    )
    add_lm_flags(group.add_argument)
    group.add_argument(
        '--lm_weight',
        type=number(float, 0, 100),
        help=f"weight of the language model's log-probability (default: {DEFAULT_LM_WEIGHT})",
    )
    group.add_argument(
        '--word_bonus',
        type=number(float, -100, 100),
        help=f'added for each word, or symbol of a character model (default: {DEFAULT_WORD_BONUS})',
    )


def add_nbest_flag(parser: argparse.ArgumentParser) -> None:
    """The flag for more than the best text of a beam search."""
    parser.add_argument(
        '--nbest', type=count, metavar='K', help='write the K best texts of the beam and their scores (default: 1)'
    )


def resolve_decoding(args: argparse.Namespace, run_dir: str | None = None, spells: bool = False) -> Decoding | None:
    """What the flags ask for; None is greedy. Flags win over the run directory, that over the defaults.

    Args:
      args: with the flags of `add_decoding_flags`.
      run_dir: whose tuned weights to take.
      spells: whether the model is las, which has a beam unless told.

    Raises:
      UsageError: weights without a language model, or what needs a beam without one.
    """
    if not args.lm:
        for name in ('lm_weight', 'word_bonus', 'lexicon'):
            if getattr(args, name) is not None:
                raise UsageError(f'--{name} is for a language model; name one with --lm')
    elif args.beam_width == 0:
        raise UsageError('--lm needs a beam, --beam_width 0 is greedy; leave --beam_width out')
    num_best = getattr(args, 'nbest', None) or 1
    beam_width = SPELLER_BEAM_WIDTH if spells and args.beam_width is None else args.beam_width
    if not args.lm and not beam_width:
        if num_best > 1:
            raise UsageError(f'--nbest {num_best}: greedy decoding has one text; give --beam_width or --lm')
        return None
    if not args.lm:
        return Decoding(beam_width, num_best=num_best)
    tuned = find_tuned(read_tuned(run_dir), args.lm) if run_dir else None
    decoding, notes = Decoding(beam_width or DEFAULT_BEAM_WIDTH, lm=args.lm, num_best=num_best), []
    for name in TUNED_FLAGS:
        given = getattr(args, name)
        source = 'flag' if given is not None else DECODING_NAME if tuned else 'default'
        value = given if given is not None else getattr(tuned or decoding, name)
        decoding = replace(decoding, **{name: value})
        notes.append(f'{name} {value if name == "lexicon" else format(value, "g")} ({source})')
    if spells and tuned:
        decoding = replace(decoding, speller=tuned.speller)
        left = {name: value for name, value in tuned.speller.items() if getattr(args, name) is None}
        notes += [f'{name} {value:g} ({DECODING_NAME})' for name, value in left.items()]
    log.info('%s: %s', args.lm, ', '.join(notes))
    if run_dir and not tuned and (args.lm_weight is None or args.word_bonus is None):
        log.warning('%s has not been tuned for %s; scripts/tune_lm.py finds its weights on a dev set', args.lm, run_dir)
    return decoding


def add_spelling_flags(parser: argparse.ArgumentParser) -> None:
    """The flags that run_test.py and run_predict.py have for las."""
    add = parser.add_argument_group('beam search of las').add_argument
    add(
        '--ctc_decode_weight',
        type=number(float, 0, 1),
        help=f"the CTC head's share of a text's score (default: {DEFAULT_CTC_WEIGHT}, 0 without such a head)",
    )
    add(
        '--coverage_weight',
        type=number(float, 0, 100),
        help='added for each listened frame whose attention sums up to more than a half (default: 0)',
    )
    add(
        '--temperature',
        type=number(float, 0.01, 100),
        help='divides the logits; above 1 for an over-confident model (default: 1)',
    )
    add(
        '--length_norm',
        type=number(float, 0, 2),
        help='power of the number of symbols that a log-probability is divided by (default: 1; 0 with coverage)',
    )
    add(
        '--end_threshold',
        type=number(float, 0, 1),
        help="share of the best symbol's probability that the end of a text needs (default: 0.1)",
    )


def refuse_spelling_flags(args: argparse.Namespace) -> None:
    """For a model that does not spell."""
    for name in SPELLING_FLAGS:
        if getattr(args, name, None) is not None:
            raise UsageError(f'--{name} is for las, the run holds another model; leave it out')


def check_decoding_flags(args: argparse.Namespace, family: str) -> None:
    """Refuses flags that are for models of the other family, 'ctc' or 'attention'.

    Raises:
      UsageError: names the flag.
    """
    if family != 'attention':
        refuse_spelling_flags(args)
        return
    for name in ('save_posteriors', 'posteriors'):
        if getattr(args, name, None):
            raise UsageError(f'--{name} is for ds1 and ds2: las has no posteriors apart from a text; leave it out')


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


@dataclass(frozen=True)
class TunedModels:
    """The contents of decoding.json."""

    language_models: list[Tuned]


def lm_id(path: str | os.PathLike) -> str:
    """What tells a language model's file from others, wherever it lies."""
    from utils.lm.ngram import fingerprint

    size, _, digest = fingerprint(Path(path))
    return f'{size}-{digest}'


def read_tuned(run_dir: str | os.PathLike) -> list[Tuned]:
    """What was found for the run's language models, the latest last."""
    path = Path(run_dir) / DECODING_NAME
    what, remedy = 'what scripts/tune_lm.py writes', 'delete it and tune again'
    if not path.exists():
        return []
    found = read_json(path, TunedModels, what, remedy).language_models
    for name in itertools.chain(*(each.speller for each in found)):
        if name not in SPELLING_FLAGS:
            raise DataError(f'{path}: not {what} ({name} is no flag of a speller); {remedy}')
    return found


def write_tuned(run_dir: str | os.PathLike, found: Tuned) -> Path:
    """Notes what was found for a language model, in place of what was noted for it before; returns the file."""
    path = Path(run_dir) / DECODING_NAME
    entries = [each for each in read_tuned(run_dir) if each.lm_id != found.lm_id] + [found]
    write_text(path, json.dumps(asdict(TunedModels(entries)), ensure_ascii=False, indent=1) + '\n')
    return path


def find_tuned(entries: Sequence[Tuned], lm_path: str | os.PathLike) -> Tuned | None:
    """What was found for a language model; None where it was not tuned."""
    identity = lm_id(lm_path) if entries else ''
    return next((each for each in entries if each.lm_id == identity), None)
