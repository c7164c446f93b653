"""Decoders that the options ask for: of CTC posteriors, and beside the graph of an attention model."""

import argparse
import logging
from collections.abc import Callable, Sequence

from utils.decode.attention_beam import AttentionBeam, AttentionBeamOptions
from utils.decode.ctc import greedy_of_posteriors
from utils.decode.ctc_beam import BeamOptions, decode_utterances
from utils.decode.hypothesis import repeats_itself, with_alternatives
from utils.decode.options import DEFAULT_CTC_WEIGHT, SPELLING_FLAGS, Decoding, check_decoding_flags, resolve_decoding
from utils.errors import UsageError
from utils.jit import is_cached
from utils.lm.scorer import LabelScorer, load_scorer

log = logging.getLogger(__name__)

LISTED = 5  # utterances named one by one in a message


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


def warn_of_runaways(names: Sequence[str], hypotheses: Sequence) -> None:
    """Names the utterances whose text repeats itself or was cut at its limit: the attention was lost there."""
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
    if not is_cached():
        log.info('compiling the beam search, this once: 15 seconds or more')
    given = {**decoding.speller, **given}
    ctc_weight = given.pop('ctc_decode_weight', DEFAULT_CTC_WEIGHT if has_ctc_head else 0.0)
    if given.get('coverage_weight'):
        given.setdefault('length_norm', 0.0)  # coverage is in proportion to the whole text
    options = AttentionBeamOptions(decoding.beam_width, decoding.num_best, ctc_weight=ctc_weight, **given)
    fusion = decoding.lm and load_scorer(
        decoding.lm, tokens, decoding.lm_weight, decoding.word_bonus, decoding.lexicon
    )

    class Decoder(AttentionBeam):
        def __call__(self, steps):
            return with_alternatives(self.results())

    return Decoder(len(tokens), options, fusion and LabelScorer(fusion))


def command_decoder(args: argparse.Namespace, run, from_posteriors: bool = False) -> Callable | None:
    """The decoder that a command line asks for, for the model of a `run_directory.Run`; None is greedy.

    Raises:
      UsageError: flags that suit neither the model nor one another.
    """
    config, tokens = run.config.model, run.vocabulary.tokens
    check_decoding_flags(args, config.family)
    decoding = resolve_decoding(args, run.path, config.family == 'attention')
    if config.family == 'attention':
        return make_spelling_decoder(args, decoding, tokens, bool(config.ctc_weight))
    return make_decoder(decoding, tokens, from_posteriors)
