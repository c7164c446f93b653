"""Options of decoding, for both families of models: flags, defaults, and the tuned weights of a run's decoding.json.

Neither numpy nor Numba is imported here, so that a command answers ``-h`` at once.
"""

import argparse
import json
import logging
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, fields
from functools import partial
from pathlib import Path

from models.config import ModelConfig, option
from utils.cli import given_options
from utils.errors import DataError, UsageError
from utils.files import BYTE_ORDER_MARK, decode_json, write_text
from utils.pack.archive import DECODING_NAME, read_run_file

log = logging.getLogger(__name__)

BEAM_WIDTHS = {'ctc': 100, 'attention': 32}  # default width of a beam search
WIDEST_OF_LAS = 1000  # a batch of 16 then has 16,000 states of the model, some gigabytes
BEST, ONE_SE = 'best', 'one_se'  # rules of tuning
DEFAULT_CTC_WEIGHT = 0.5  # where the model has a CTC head

_decoding = partial(option, group='decoding')
_las = partial(option, group='beam search of las', models=('las',))


@dataclass(frozen=True)
class DecodingOptions:
    """Options of a search for texts; `resolve_decoding` fills in what depends on the model and on the run.

    Attributes:
      family: family of the model, 'ctc' or 'attention'.
      tuned_weights: weights of the model that the language model's were tuned with; '' where they are not tuned.
    """

    checkpoint: str = _decoding(
        'best', choices=('best', 'latest', 'average'),
        help='the best on dev, the latest, or the average of the last epochs',
    )
    beam_width: int = _decoding(
        0, low=0, high=10_000,
        help=f'prefixes kept in a beam search; 0: greedy (default: 0, {BEAM_WIDTHS["ctc"]} with --lm or --hotwords; '
        f'las: {BEAM_WIDTHS["attention"]})',
    )
    lm: str | None = _decoding(
        None, help='n-gram model of words or characters, ARPA format, such as scripts/train_lm.py writes; the defaults '
        f'of the flags beside it are what scripts/tune_lm.py found for it ({DECODING_NAME} in RUN)',
    )
    lexicon: str = _decoding(
        'no', metavar='{yes,no,WORDS}',
        help='yes: only words of the (word) model are allowed; WORDS: only those of this word model, beside a '
        'character model',
    )
    lm_weight: float = _decoding(1.0, low=0, high=100, help="weight of the language model's log-probability")
    word_bonus: float = _decoding(
        1.0, low=-100, high=100, help='score added for each word, or for each symbol with a character model'
    )
    hotwords: str | None = _decoding(
        None, metavar='FILE|LIST',
        help='words and phrases to find more often: a file with one a line, or a list such as "name:3,new york:2"; the '
        'number is the weight, by default that of --hotword_weight',
    )
    hotword_weight: float = _decoding(
        0.5, low=0, high=100, help='score added for each letter of a hot word that was found, in nats'
    )
    num_best: int = _decoding(
        1, '--nbest', low=1, high=10_000, metavar='K', help='write the K best texts of the beam and their scores'
    )
    ctc_decode_weight: float = _las(
        0.0, low=0, high=1,
        help=f"the CTC head's share of a text's score (default: {DEFAULT_CTC_WEIGHT}, 0 without such a head)",
    )
    coverage_weight: float = _las(
        0.0, low=0, high=100, help='score added for each input frame whose attention sums up to more than a half'
    )
    temperature: float = _las(
        1.0, low=0.01, high=100, help='divisor of the logits; above 1 for an over-confident model'
    )
    length_norm: float = _las(
        1.0, low=0, high=2,
        help='power of the number of symbols that a log-probability is divided by (default: 1; 0 with coverage)',
    )
    end_threshold: float = _las(
        0.1, low=0, high=1, help="share of the best symbol's probability that the end of a text needs"
    )
    ilm_weight: float = _las(
        0.0, low=0, high=10,
        help="weight of the decoder's internal language model, its log-probability of the text without the audio "
        '(context vector of zero), which is subtracted; it makes room for --lm',
    )
    family: str = 'ctc'
    tuned_weights: str = ''


LAS_FLAGS = tuple(each.name for each in fields(DecodingOptions) if getattr(each.metadata.get('option'), 'models', ()))
HOTWORD_FLAGS = ('hotwords', 'hotword_weight')
LM_FLAGS = ('lm_weight', 'word_bonus', 'lexicon')


def resolve_decoding(args: argparse.Namespace, model: ModelConfig, run_dir: str | None = None) -> DecodingOptions:
    """Returns the options that a command line asks for; beam width 0 is greedy decoding.

    Flags win over the run's decoding.json, that over the defaults.

    Args:
      args: parsed flags of `DecodingOptions`.
      model: configuration of the run's model.
      run_dir: run directory whose tuned weights are taken; None: the defaults.

    Raises:
      UsageError: a flag without effect beside the others or with this model.
      DataError: a damaged decoding.json.
    """
    given, is_las = given_options(args, DecodingOptions), model.family == 'attention'
    lm = given.get('lm')
    tuned = find_tuned(read_tuned(run_dir), lm) if run_dir and lm else None
    found = {name: getattr(tuned, name) for name in (*LM_FLAGS, 'beam_width')} if tuned else {}
    if tuned and is_las:
        found.update(tuned.speller)
    chosen = {**found, **given}
    options = DecodingOptions(
        **{
            'family': model.family,
            'tuned_weights': tuned.weights if tuned and found.keys() - given.keys() else '',
            'beam_width': BEAM_WIDTHS[model.family] if lm or is_las or given.get('hotwords') else 0,
            'ctc_decode_weight': DEFAULT_CTC_WEIGHT if is_las and model.ctc_weight else 0.0,
            # coverage is in proportion to the whole text
            'length_norm': 0.0 if chosen.get('coverage_weight') else DecodingOptions.length_norm,
            **chosen,
        }
    )
    _check_given(given, options, model)
    for name in ('save_posteriors', 'posteriors'):
        if is_las and getattr(args, name, None):
            raise UsageError(f'--{name} is for ds1 and ds2: las has no posteriors apart from a text; leave it out')
    if lm and run_dir:
        notes = []
        for name in (*LM_FLAGS, 'beam_width', *(name for name in found if name in LAS_FLAGS and name not in given)):
            source = 'flag' if name in given else DECODING_NAME if tuned else 'default'
            value = getattr(options, name)
            notes.append(f'{name} {value if name == "lexicon" else format(value, "g")} ({source})')
        log.info('%s: %s', lm, ', '.join(notes))
        if not tuned and not given.keys() >= {'lm_weight', 'word_bonus'}:
            log.warning('%s has not been tuned for %s; scripts/tune_lm.py finds its weights on a dev set', lm, run_dir)
    return options


def _check_given(given: dict[str, object], options: DecodingOptions, model: ModelConfig) -> None:
    """Refuses flags that have no effect beside the others or with the model."""
    for name in given:
        if name in LAS_FLAGS and options.family != 'attention':
            raise UsageError(f'--{name} is for las, the run holds another model; leave it out')
        if name in LM_FLAGS and not options.lm:
            raise UsageError(f'--{name} is for a language model; name one with --lm')
        if name in LAS_FLAGS and not options.beam_width:
            raise UsageError(f'--{name} is for a beam search, --beam_width 0 is greedy; leave one of them out')
    if 'hotword_weight' in given and not options.hotwords:
        raise UsageError('--hotword_weight is for hot words; give --hotwords')
    if options.hotwords and not options.beam_width:
        raise UsageError('--hotwords needs a beam, --beam_width 0 is greedy; leave --beam_width out')
    if options.lm and not options.beam_width:
        raise UsageError('--lm needs a beam, --beam_width 0 is greedy; leave --beam_width out')
    if options.num_best > 1 and not options.beam_width:
        raise UsageError(f'--nbest {options.num_best}: greedy decoding has one text; give --beam_width or --lm')
    if options.num_best > max(options.beam_width, 1):
        raise UsageError(f'--nbest {options.num_best}: a beam of {options.beam_width} has no more texts than that')
    if options.family == 'attention' and options.beam_width > WIDEST_OF_LAS:
        raise UsageError(f'--beam_width {options.beam_width}: las takes {WIDEST_OF_LAS} at most, each with a state')
    if options.ctc_decode_weight and not model.ctc_weight:
        raise UsageError('--ctc_decode_weight: the model was trained with --ctc_weight 0 and has no CTC head; give 0')


@dataclass(frozen=True)
class Tuned:
    """The options that one language model decodes best with on the dev set of a run.

    Attributes:
      lm: path of the ARPA file.
      lm_id: size and hash of that file, which identify it in another place.
      unit: 'word' or 'char'.
      lm_weight, word_bonus: the weights.
      beam_width: width of the beam that they were found with.
      lexicon: words that were allowed, as in `DecodingOptions`.
      checkpoint: checkpoint of the run.
      dev: indexes of the dev set.
      wer, cer: error rates there, as fractions; wer None where texts have no words.
      wer_without, cer_without: the same with greedy decoding.
      speller: las: options of its beam search by name; defaults for those that are absent.
      weights: name and hash of the checkpoint's weights; '' where an older version tuned.
      rule: rule by which the weights were chosen.
      folds: parts of the cross-validation; 0: none.
      wer_folds, cer_folds: cross-validated error rates; None without cross-validation.
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
    weights: str = ''
    rule: str = BEST
    folds: int = 0
    wer_folds: float | None = None
    cer_folds: float | None = None


@dataclass(frozen=True)
class _TunedFile:
    language_models: list[Tuned]


def lm_id(path: str | os.PathLike) -> str:
    """Size and hash of a language model's file, independent of its path."""
    from utils.lm.ngram import fingerprint

    return fingerprint(path)


def read_tuned(run_dir: str | os.PathLike) -> list[Tuned]:
    """The entries of a run's decoding.json, the latest last; none where there is no such file.

    Raises:
      DataError: the file holds something else.
    """
    path, data = str(Path(run_dir) / DECODING_NAME), read_run_file(run_dir, DECODING_NAME)
    if data is None:
        return []
    what, remedy = 'what scripts/tune_lm.py writes', 'delete it and tune again'
    found = decode_json(data.removeprefix(BYTE_ORDER_MARK), _TunedFile, path, what, remedy).language_models
    for name in {name for each in found for name in each.speller}.difference(LAS_FLAGS):
        raise DataError(f'{path}: not {what} ({name} is no option of an attention beam); {remedy}')
    return found


def write_tuned(run_dir: str | os.PathLike, found: Tuned) -> Path:
    """Writes the entry of a language model, in place of an earlier one for the same model; returns the file."""
    path = Path(run_dir) / DECODING_NAME
    entries = [each for each in read_tuned(run_dir) if each.lm_id != found.lm_id] + [found]
    text = json.dumps({'language_models': [asdict(each) for each in entries]}, ensure_ascii=False, indent=1)
    write_text(path, text + '\n')
    return path


def find_tuned(entries: Sequence[Tuned], lm_path: str | os.PathLike) -> Tuned | None:
    """The entry of a language model; None where it has not been tuned."""
    identity = lm_id(lm_path) if entries else ''
    return next((each for each in entries if each.lm_id == identity), None)
