"""What the commands spell with: the flags of a speller's search, and the search that they ask for."""

import argparse
import logging
from collections.abc import Callable, Sequence

from utils.cli import number
from utils.errors import UsageError

log = logging.getLogger(__name__)

DEFAULT_BEAM_WIDTH = 32
DEFAULT_CTC_WEIGHT = 0.5  # where the model has a CTC head
LISTED = 5  # utterances named one by one in a message
SPELLING_FLAGS = ('ctc_decode_weight', 'coverage_weight', 'temperature', 'length_norm', 'end_threshold')


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


def warn_of_runaways(names: Sequence[str], hypotheses: Sequence) -> None:
    """Names the utterances whose text repeats itself or was cut at its limit: the attention was lost there."""
    from utils.decode.spelling import repeats_itself

    for what, is_lost in (
        ('repeat themselves', lambda each: repeats_itself(each.ids)),
        ('were cut at the longest that their frames allow', lambda each: each.is_cut),
    ):
        lost = [name for name, each in zip(names, hypotheses, strict=True) if is_lost(each)]
        if lost:
            named = ', '.join(lost[:LISTED]) + (', ...' if len(lost) > LISTED else '')
            log.warning('%d of %d texts %s: %s', len(lost), len(names), what, named)


def make_spelling_decoder(
    args: argparse.Namespace, decoding, tokens: Sequence[str], has_ctc_head: bool
) -> Callable | None:
    """The beam search of a speller; None is greedy.

    Args:
      args: with the flags of `add_spelling_flags`.
      decoding: a `decoder.Decoding`, or None for greedy.
      tokens: of the run's vocabulary.
      has_ctc_head: whether the model was trained with one.

    Returns:
      An object with `begin` and `advance` for the graph, which gives a hypothesis each when called after a search.

    Raises:
      UsageError: a weight for what the model or a greedy search does not have.
    """
    given = {name: getattr(args, name) for name in SPELLING_FLAGS if getattr(args, name) is not None}
    if decoding is None:
        for name in given:
            raise UsageError(f'--{name} is for a beam search, --beam_width 0 is greedy; leave one of them out')
        return None
    if given.get('ctc_decode_weight') and not has_ctc_head:
        raise UsageError(
            '--ctc_decode_weight: the model was trained with --ctc_weight 0 and has no CTC head; leave it out'
        )
    from utils.decode.attention_beam import SpellingBeam
    from utils.decode.ctc_beam import with_alternatives
    from utils.decode.spelling import SpellingOptions
    from utils.jit import is_cached
    from utils.lm.scorer import LabelScorer, load_scorer

    if not is_cached():
        log.info('compiling the beam search, this once: 15 seconds or more')
    given = {**decoding.speller, **given}
    ctc_weight = given.pop('ctc_decode_weight', DEFAULT_CTC_WEIGHT if has_ctc_head else 0.0)
    if given.get('coverage_weight'):
        given.setdefault('length_norm', 0.0)  # coverage is in proportion to the whole text
    options = SpellingOptions(decoding.beam_width, decoding.num_best, ctc_weight=ctc_weight, **given)
    fusion = decoding.lm and load_scorer(
        decoding.lm, tokens, decoding.lm_weight, decoding.word_bonus, decoding.lexicon
    )

    class Decoder(SpellingBeam):
        def __call__(self, steps):
            return with_alternatives(self.results())

    return Decoder(len(tokens), options, fusion and LabelScorer(fusion))
