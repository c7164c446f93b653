"""What the commands decode with: greedily, or a beam with or without a language model."""

import argparse
import logging
from collections.abc import Callable, Sequence

from utils.cli import natural, number
from utils.errors import UsageError

log = logging.getLogger(__name__)

DEFAULT_BEAM_WIDTH = 100
DEFAULT_LM_WEIGHT, DEFAULT_WORD_BONUS = 1.0, 1.0


def add_decoding_flags(parser: argparse.ArgumentParser) -> None:
    """The flags that run_test.py and run_predict.py share."""
    add = parser.add_argument_group('decoding').add_argument
    add(
        '--checkpoint',
        choices=('best', 'latest', 'average'),
        default='best',
        help='the best on dev, the latest, or the average of the last epochs',
    )
    add(
        '--beam_width',
        type=natural,
        help=f'prefixes kept in a beam search; 0: greedy (default: 0, {DEFAULT_BEAM_WIDTH} with --lm)',
    )
    add('--lm', help='n-gram model of words or characters, ARPA format, such as scripts/train_lm.py writes')
    add(
        '--lm_weight',
        type=number(float, 0, 100),
        help=f"weight of the language model's log-probability (default: {DEFAULT_LM_WEIGHT})",
    )
    add(
        '--word_bonus',
        type=number(float, -100, 100),
        help=f'added for each word, or symbol of a character model (default: {DEFAULT_WORD_BONUS})',
    )


def make_decoder(args: argparse.Namespace, tokens: Sequence[str]) -> Callable | None:
    """The decoder that the flags ask for; None is greedy.

    Args:
      args: with the flags of `add_decoding_flags`.
      tokens: of the run's vocabulary.

    Returns:
      From log posteriors `[batch, frames, classes]`, the blank last, and lengths to a hypothesis each.

    Raises:
      UsageError: weights without a language model, or one without a beam.
    """
    if not args.lm:
        for name in ('lm_weight', 'word_bonus'):
            if getattr(args, name) is not None:
                raise UsageError(f'--{name} weighs a language model; name one with --lm')
        if not args.beam_width:
            return None
    elif args.beam_width == 0:
        raise UsageError('--lm needs a beam, --beam_width 0 is greedy; leave --beam_width out')

    from utils.decode.beam import BeamOptions, decode, warn_if_empty
    from utils.decode.compiled import is_cached
    from utils.decode.fusion import Weights, make_fusion
    from utils.decode.ngram import load_model

    if not is_cached():
        log.info('compiling the beam search, this once: about half a minute')
    fusion = None
    if args.lm:
        lm_weight = DEFAULT_LM_WEIGHT if args.lm_weight is None else args.lm_weight
        word_bonus = DEFAULT_WORD_BONUS if args.word_bonus is None else args.word_bonus
        fusion = make_fusion(load_model(args.lm), tokens, Weights(lm_weight, word_bonus))
    options = BeamOptions(beam_width=args.beam_width or DEFAULT_BEAM_WIDTH)

    def decode_batch(log_probs, lengths):
        results = decode(log_probs, lengths, len(tokens), options, fusion)
        warning = warn_if_empty(results)
        if warning:
            log.warning('%s', warning)
        return [hypotheses[0] for hypotheses in results]

    return decode_batch
