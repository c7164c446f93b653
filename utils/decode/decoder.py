"""Decoders, made from the options: of CTC posteriors, or a beam search beside the graph of an attention model."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from utils.data.vocabulary import Vocabulary
from utils.decode.attention_beam import AttentionBeam
from utils.decode.ctc_beam import BeamOptions, decode
from utils.decode.greedy import best_paths
from utils.decode.hypothesis import BeamHypothesis, Hypothesis, SpelledHypothesis, repeats_itself, with_alternatives
from utils.decode.options import DecodingOptions
from utils.decode.text_mean import TextMeanDecoder
from utils.jit import is_cached
from utils.lm.context_graph import ContextGraph
from utils.lm.hotwords import read_hotwords
from utils.lm.scorer import Scorer, load_scorer, no_scorer

log = logging.getLogger(__name__)

LISTED = 5  # utterances named one by one in a message


@dataclass(frozen=True)
class GreedyDecoder:
    """Best paths of CTC posteriors."""

    blank_id: int

    def decode(self, log_probs: Sequence[np.ndarray], lengths: Sequence[int]) -> list[Hypothesis]:
        """A hypothesis for each utterance.

        Args:
          log_probs: log-posteriors `[batch, frames, classes]`, or `[frames, classes]` for each; the blank is last.
          lengths: frames of each utterance, int `[batch]`.
        """
        utterances = [each[np.newaxis, :length] for each, length in zip(log_probs, lengths, strict=True)]
        paths = [(each.argmax(2), each.max(2), [each.shape[1]]) for each in utterances]
        return [best_paths(*path, self.blank_id)[0] for path in paths]


@dataclass(frozen=True)
class BeamDecoder:
    """Prefix beam search of CTC posteriors."""

    blank_id: int
    options: BeamOptions
    scorer: Scorer | None

    def decode(self, log_probs: Sequence[np.ndarray], lengths: Sequence[int]) -> list[BeamHypothesis]:
        """As `GreedyDecoder.decode`."""
        utterances = [each[:length] for each, length in zip(log_probs, lengths, strict=True)]
        return with_alternatives(decode(utterances, self.blank_id, self.options, self.scorer))


CtcDecoder = GreedyDecoder | BeamDecoder
Decoder = CtcDecoder | AttentionBeam


def make_decoder(
    options: DecodingOptions, tokens: Sequence[str], scorer: Scorer | None = None, from_posteriors: bool = False,
    hotwords: ContextGraph | None = None,
) -> Decoder | None:
    """Makes the decoder for the options; None: greedy decoding, which needs no posteriors.

    Args:
      options: options from `resolve_decoding`.
      tokens: tokens of the run's vocabulary.
      scorer: language model, with its weights.
      from_posteriors: return a decoder of posteriors for greedy decoding, too.
      hotwords: hot words, None: none.
    """
    blank_id = len(tokens)  # of las: the end of a text
    if not options.beam_width:
        return GreedyDecoder(blank_id) if from_posteriors else None
    if not is_cached():
        log.info('compiling the beam search, this once: 15 seconds or more')
    if options.family == 'ctc':
        scorer = (scorer or no_scorer(blank_id))._replace(hotwords=hotwords) if hotwords else scorer
        return BeamDecoder(blank_id, BeamOptions(options.beam_width, options.num_best), scorer)
    return AttentionBeam(blank_id, options, scorer, hotwords)


def load_decoder(options: DecodingOptions, tokens: Sequence[str], from_posteriors: bool = False) -> Decoder | None:
    """Loads language model and hot words of the options, if any, and makes the decoder; arguments as in `make_decoder`.

    Raises:
      DataError: the language model or the hot words cannot be read or do not fit the vocabulary.
    """
    scorer, graph = _load(options, tokens)
    return make_decoder(options, tokens, scorer, from_posteriors, graph)


def load_joint_decoder(options: DecodingOptions, tokens: Sequence[str], *_) -> TextMeanDecoder:
    """The decoder of several models' posteriors, with language model and hot words; errors as in `load_decoder`."""
    scorer, graph = _load(options, tokens)
    scorer = (scorer or no_scorer(len(tokens)))._replace(hotwords=graph) if graph else scorer
    return TextMeanDecoder(len(tokens), BeamOptions(options.beam_width, options.num_best), scorer)


def _load(options: DecodingOptions, tokens: Sequence[str]) -> tuple[Scorer | None, ContextGraph | None]:
    """The language model and the hot words of the options, if any."""
    weights = options.lm_weight, options.word_bonus
    found = None
    if options.hotwords:
        found = read_hotwords(options.hotwords, Vocabulary(tokens), options.hotword_weight)
    words = found.words if found else ()
    scorer = load_scorer(options.lm, tokens, *weights, options.lexicon, words) if options.lm else None
    return scorer, found and found.graph


def warn_if_empty(texts: Sequence[str]) -> None:
    """Warns if most of the texts that were decoded with a language model are empty: its weight is too large."""
    num_empty = sum(not text for text in texts)
    if num_empty > len(texts) // 2:
        log.warning('%d of %d texts are empty: the language model outweighs the acoustic one; '
                    'lower --lm_weight or raise --word_bonus', num_empty, len(texts))  # fmt: skip


def warn_of_other_weights(options: DecodingOptions, weights: str) -> None:
    """Warns where the language model was tuned with other weights of the acoustic model than these."""
    if options.tuned_weights not in ('', weights):
        log.warning('%s was tuned with the weights %s, not %s; scripts/tune_lm.py tunes it again',
                    options.lm, options.tuned_weights, weights)  # fmt: skip


def warn_of_runaways(names: Sequence[str], hypotheses: Sequence[SpelledHypothesis]) -> None:
    """Warns of utterances whose text repeats itself or reached its limit: the attention was lost there."""
    for what, is_lost in (
        ('repeat themselves', lambda each: repeats_itself(each.ids)),
        ('were cut at the longest that their frames allow', lambda each: each.is_cut),
    ):
        lost = [name for name, each in zip(names, hypotheses, strict=True) if is_lost(each)]
        if lost:
            named = ', '.join(lost[:LISTED]) + (', ...' if len(lost) > LISTED else '')
            log.warning('%d of %d texts %s: %s', len(lost), len(names), what, named)
