"""What the commands decode CTC posteriors with: greedily, or a beam with or without a language model."""

import argparse
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from utils.cli import count, natural, number
from utils.decode import spelling_decoder
from utils.decode.tuned import DECODING_NAME, find_tuned, read_tuned
from utils.errors import UsageError

log = logging.getLogger(__name__)

DEFAULT_BEAM_WIDTH = 100
DEFAULT_LM_WEIGHT, DEFAULT_WORD_BONUS = 1.0, 1.0
TUNED_FLAGS = ('lm_weight', 'word_bonus', 'lexicon', 'beam_width')


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
        f'{spelling_decoder.DEFAULT_BEAM_WIDTH})',
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
    beam_width = spelling_decoder.DEFAULT_BEAM_WIDTH if spells and args.beam_width is None else args.beam_width
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


def make_decoder(decoding: Decoding | None, tokens: Sequence[str], from_posteriors: bool = False) -> Callable | None:
    """The decoder of CTC posteriors that `resolve_decoding` found; None is greedy, from best paths.

    Args:
      decoding: what is asked for.
      tokens: of the run's vocabulary.
      from_posteriors: greedy decoding shall take posteriors, too.

    Returns:
      From log posteriors `[batch, frames, classes]` (or a list of `[frames, classes]`), the blank last, and
      lengths to a hypothesis each.
    """
    if decoding is None:
        return _greedy(len(tokens)) if from_posteriors else None
    from utils.decode.ctc_beam import BeamOptions, decode_utterances, with_alternatives
    from utils.jit import is_cached
    from utils.lm.scorer import load_scorer

    if not is_cached():
        log.info('compiling the beam search, this once: 15 seconds or more')
    fusion = decoding.lm and load_scorer(
        decoding.lm, tokens, decoding.lm_weight, decoding.word_bonus, decoding.lexicon
    )
    options = BeamOptions(beam_width=decoding.beam_width, num_best=decoding.num_best)

    def decode_batch(log_probs, lengths):
        utterances = [utterance[:length] for utterance, length in zip(log_probs, lengths, strict=True)]
        return with_alternatives(decode_utterances(utterances, len(tokens), options, fusion))

    return decode_batch


def _greedy(blank_id: int) -> Callable:
    from utils.decode.ctc import greedy_of_posteriors

    def decode_batch(log_probs, lengths):
        utterances = zip(log_probs, lengths, strict=True)
        return [greedy_of_posteriors(each[None, :length], [length], blank_id)[0] for each, length in utterances]

    return decode_batch


def warn_if_empty(texts: Sequence[str]) -> None:
    """Warns where most texts that were decoded with a language model are empty, as with weights out of proportion."""
    num_empty = sum(not text for text in texts)
    if num_empty > len(texts) // 2:
        log.warning('%d of %d texts are empty: the language model outweighs the acoustic one; '
                    'lower --lm_weight or raise --word_bonus', num_empty, len(texts))  # fmt: skip
