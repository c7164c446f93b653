"""The beam search that goes on frame by frame against the search of the whole utterance."""

import numpy as np
import pytest

from tests.oracles import BLANK, TOKENS, char_model, hotwords_of, word_model
from utils.decode import beam_stream
from utils.decode.beam_stream import BeamStream
from utils.decode.ctc_beam import BeamOptions, decode
from utils.decode.prefix_search import NUM_NODES
from utils.errors import DataError
from utils.lm.scorer import Weights, make_scorer, no_scorer

NARROW = BeamOptions(beam_width=12)


def posteriors(frames, seed):
    logits = 2.5 * np.random.default_rng(seed).normal(size=(frames, len(TOKENS) + 1))
    return (logits - np.logaddexp.reduce(logits, axis=1, keepdims=True)).astype(np.float32)


def in_chunks(log_probs, size, options=NARROW, scorer=None):
    stream = BeamStream(BLANK, options, scorer)
    for first in range(0, len(log_probs), size):
        stream.add(log_probs[first : first + size])
    return stream


def same(found, expected):
    assert (found.ids, found.frames) == (expected.ids, expected.frames)
    assert (found.score, found.log_prob, found.lm_log_prob) == (expected.score, expected.log_prob, expected.lm_log_prob)


@pytest.mark.parametrize('size', [1, 3, 50, 400])
@pytest.mark.parametrize('lm', [None, word_model, char_model], ids=['none', 'word', 'char'])
def test_chunks_give_the_text_and_the_scores_of_the_whole_utterance(lm, size, tmp_path):
    scorer = lm and make_scorer(lm(tmp_path), TOKENS, Weights(0.8, 0.5))
    for seed in range(3):
        log_probs = posteriors(300, seed)
        same(in_chunks(log_probs, size, scorer=scorer).final(), decode([log_probs], BLANK, NARROW, scorer)[0][0])


@pytest.mark.parametrize('size', [3, 50])
@pytest.mark.parametrize('lm', [None, word_model], ids=['none', 'word'])
def test_chunks_give_the_hot_words_of_the_whole_utterance(lm, size, tmp_path):
    found = hotwords_of({'ba': 0.9, 'ab b': 0.4, 'bab a': 1.2})
    scorer = make_scorer(lm(tmp_path), TOKENS, Weights(0.8, 0.5), hotwords=found.words) if lm else no_scorer(BLANK)
    scorer = scorer._replace(hotwords=found.graph)
    for seed in range(3):
        log_probs = posteriors(300, seed)
        final, expected = in_chunks(log_probs, size, scorer=scorer).final(), decode([log_probs], BLANK, NARROW, scorer)
        same(final, expected[0][0])
        assert final.boost == expected[0][0].boost > 0


def test_a_pruned_tree_changes_no_text_and_stays_small(monkeypatch, tmp_path):
    scorer = make_scorer(word_model(tmp_path), TOKENS, Weights(0.8, 0.5))
    log_probs, pruned = posteriors(2000, 1), []
    prune = beam_stream.prune
    monkeypatch.setattr(beam_stream, 'prune', lambda beam: (prune(beam), pruned.append(beam.counts[NUM_NODES])))
    stream = in_chunks(log_probs, 7, scorer=scorer)
    assert len(pruned) > 3
    same(stream.final(), decode([log_probs], BLANK, NARROW, scorer)[0][0])
    # the nodes that are left hold the text so far, and where the prefixes of the beam differ from it
    assert pruned[-1] < len(stream.final().ids) + 200


def test_no_frame_at_all_is_an_empty_text():
    stream = BeamStream(BLANK, NARROW, None)
    assert stream.partial().ids == stream.final().ids == ()


def test_the_partial_text_has_its_symbols_at_their_frames():
    log_probs = np.full((7, 4), -20.0, np.float32)
    log_probs[np.arange(7), [3, 1, 1, 3, 2, 3, 3]] = 0
    stream = in_chunks(log_probs, 2)
    assert stream.partial().ids == (1, 2)
    assert [span[:2] for span in stream.partial().frames] == [(1, 3), (4, 5)]


def test_nan_is_refused():
    with pytest.raises(DataError, match='NaN'):
        in_chunks(np.full((4, 4), np.nan, np.float32), 4)
