"""The decoding flags of the commands."""

import dataclasses
import json

import numpy as np
import pytest

from models.config import ModelConfig
from utils.cli import Parser, add_options
from utils.decode.decoder import load_decoder, make_decoder, warn_if_empty, warn_of_other_weights
from utils.decode.options import DecodingOptions, Tuned, lm_id, resolve_decoding, write_tuned
from utils.errors import DataError, UsageError

TOKENS = [' ', 'a', 'b']


CTC, LAS = ModelConfig(), ModelConfig(model='las', ctc_weight=0.2)


def parse(*flags):
    parser = Parser(prog='test')
    add_options(parser, DecodingOptions)
    return parser.parse_args(flags)


def decoder(*flags, model=CTC, run_dir=None):
    return load_decoder(resolve_decoding(parse(*flags), model, run_dir), TOKENS)


@pytest.fixture
def lm(tmp_path):
    """A model that likes b better than a."""
    path = tmp_path / 'lm.arpa'
    path.write_text(
        '\\data\\\nngram 1=5\n\n\\1-grams:\n-9 <unk>\n-99 <s>\n-1 </s>\n-0.1 b\n-3 a\n\n\\end\\\n', encoding='utf-8'
    )
    return str(path)


def tuned(lm, **changes):
    return Tuned(
        **{
            'lm': lm, 'lm_id': lm_id(lm), 'unit': 'char', 'lm_weight': 0.25, 'word_bonus': 1.5, 'beam_width': 7,
            'lexicon': 'no', 'checkpoint': 'best', 'dev': ('dev.json',), 'wer': 0.1, 'cer': 0.05, 'wer_without': 0.2,
            'cer_without': 0.1, **changes,
        }
    )  # fmt: skip


def test_greedy_is_the_default():
    assert decoder() is None
    assert decoder('--beam_width', '0') is None


@pytest.mark.parametrize(
    'flags',
    [
        ['--lm_weight', '1'],
        ['--word_bonus', '1'],
        ['--lexicon', 'no'],
        ['--lm', 'x.arpa', '--beam_width', '0'],
        ['--nbest', '2'],
        ['--hotword_weight', '2'],
        ['--hotwords', 'a', '--beam_width', '0'],
    ],
)
def test_flags_without_effect_are_refused(flags):
    with pytest.raises(UsageError):
        decoder(*flags)


def test_a_beam_sums_over_the_paths_of_a_text():
    # the best path is blank, blank (0.36); but "a" has 0.4 · 0.4 + 2 · 0.4 · 0.6 = 0.64
    frame = np.log([1e-9, 0.4, 1e-9, 0.6])
    (hypothesis,) = decoder('--beam_width', '4').decode(np.array([[frame, frame]], 'f'), np.array([2]))
    assert hypothesis.ids == (1,)
    np.testing.assert_allclose(hypothesis.log_prob, np.log(0.64), rtol=1e-4)
    assert hypothesis.alternatives == ()


def test_more_texts_than_the_best_come_with_their_scores():
    frame = np.log([1e-9, 0.4, 1e-9, 0.6])
    (best,) = decoder('--beam_width', '4', '--nbest', '2').decode(np.array([[frame, frame]], 'f'), np.array([2]))
    assert [each.ids for each in (best, *best.alternatives)] == [(1,), ()]
    assert best.alternatives[0].scores() == pytest.approx(
        {'score': np.log(0.36), 'log_prob': np.log(0.36), 'lm_log_prob': 0, 'num_words': 0}, abs=1e-3
    )


def test_greedy_decoding_of_posteriors_is_the_best_path():
    frames = np.log(np.array([[0.1, 0.6, 0.2, 0.1], [0.1, 0.6, 0.2, 0.1], [0.1, 0.2, 0.1, 0.6], [0.7, 0.1, 0.1, 0.1]]))
    greedy = make_decoder(DecodingOptions(), TOKENS, from_posteriors=True)
    first, second = greedy.decode([frames, frames[:3]], [4, 2])
    assert (first.ids, second.ids) == ((1, 0), (1,))
    np.testing.assert_allclose(second.log_prob, 2 * np.log(0.6))
    assert second.frames[0][:2] == (0, 2)


def test_a_language_model_decides_between_equal_sounds(lm):
    frame = np.log([1e-9, 0.5, 0.5, 1e-9])
    (hypothesis,) = decoder('--lm', lm).decode(np.array([[frame]], 'f'), np.array([1]))
    assert [TOKENS[i] for i in hypothesis.ids] == ['b']


def test_hot_words_decide_between_equal_sounds_and_take_a_beam(lm):
    frame = np.log(np.array([[[1e-9, 0.5, 0.5, 1e-9]]], 'f'))
    for flags, expected in ((['--hotwords', 'a'], 'a'), (['--hotwords', 'b:0.5'], 'b'),
                            (['--hotwords', 'a', '--hotword_weight', '9', '--lm', lm], 'a')):  # fmt: skip
        (hypothesis,) = decoder(*flags).decode(frame, np.array([1]))
        assert [TOKENS[i] for i in hypothesis.ids] == [expected]
        assert hypothesis.scores()['boost'] == hypothesis.boost > 0
    search = decoder('--hotwords', 'a', model=LAS)
    assert search.options.beam_width == 32


def test_an_empty_list_of_hot_words_changes_no_text_and_no_score(lm, tmp_path):
    (tmp_path / 'none.txt').write_text('# none\n')
    logits = np.random.default_rng(0).normal(size=(3, 20, 4)).astype('f')
    log_probs, lengths = logits - np.logaddexp.reduce(logits, 2, keepdims=True), np.array([20, 20, 7])
    for flags in (['--beam_width', '9', '--nbest', '4'], ['--lm', lm]):
        without = decoder(*flags).decode(log_probs, lengths)
        assert decoder(*flags, '--hotwords', str(tmp_path / 'none.txt')).decode(log_probs, lengths) == without
        assert 'boost' not in without[0].scores()


def test_tuned_weights_are_taken_for_their_model_wherever_it_lies_and_flags_win(lm, tmp_path, caplog):
    caplog.set_level('INFO')
    (tmp_path / 'run').mkdir()
    write_tuned(tmp_path / 'run', tuned(lm, lm_weight=9.0))
    write_tuned(tmp_path / 'run', tuned(lm))  # what was found before is forgotten
    moved = tmp_path / 'moved.arpa'
    moved.write_bytes((tmp_path / 'lm.arpa').read_bytes())
    found = resolve_decoding(parse('--lm', str(moved), '--word_bonus', '3'), CTC, str(tmp_path / 'run'))
    assert (found.lm_weight, found.word_bonus, found.beam_width) == (0.25, 3.0, 7)
    assert 'lm_weight 0.25 (decoding.json), word_bonus 3 (flag)' in caplog.text
    assert 'has not been tuned' not in caplog.text
    moved.write_text('another model')
    found = resolve_decoding(parse('--lm', str(moved)), CTC, str(tmp_path / 'run'))
    assert (found.lm_weight, found.word_bonus, found.beam_width) == (1.0, 1.0, 100)
    assert 'has not been tuned' in caplog.text


def test_a_speller_searches_as_it_was_tuned_and_flags_win(lm, tmp_path, caplog):
    caplog.set_level('INFO')
    write_tuned(tmp_path, tuned(lm, speller={'length_norm': 0.0, 'ctc_decode_weight': 0.7, 'temperature': 1.5}))
    search = decoder('--lm', lm, '--ctc_decode_weight', '0.3', model=LAS, run_dir=str(tmp_path))
    assert (search.options.length_norm, search.options.ctc_decode_weight, search.options.temperature) == (0.0, 0.3, 1.5)
    assert search.options.beam_width == 7
    assert 'length_norm 0 (decoding.json), temperature 1.5 (decoding.json)' in caplog.text


def test_weights_that_were_tuned_with_other_weights_of_the_model_are_warned_of(lm, tmp_path, caplog):
    write_tuned(tmp_path, tuned(lm, weights='model-7 (c0ffee)'))
    options = resolve_decoding(parse('--lm', lm), CTC, str(tmp_path))
    warn_of_other_weights(options, 'model-7 (c0ffee)')
    assert not caplog.text
    warn_of_other_weights(options, 'model-9 (b0a710ad)')
    assert 'was tuned with the weights model-7 (c0ffee), not model-9 (b0a710ad); scripts/tune_lm.py' in caplog.text
    all_given = parse('--lm', lm, '--lm_weight', '1', '--word_bonus', '1', '--lexicon', 'no', '--beam_width', '5')
    assert resolve_decoding(all_given, CTC, str(tmp_path)).tuned_weights == ''
    write_tuned(tmp_path, tuned(lm))  # of an older version, which did not note them
    assert resolve_decoding(parse('--lm', lm), CTC, str(tmp_path)).tuned_weights == ''


@pytest.mark.parametrize(
    ('flags', 'model', 'message'),
    [
        (['--beam_width', '5', '--nbest', '6'], CTC, 'a beam of 5 has no more texts'),
        (['--beam_width', '1001'], LAS, 'las takes 1000 at most'),
    ],
)
def test_widths_that_cannot_be_meant_are_refused(flags, model, message):
    with pytest.raises(UsageError, match=message):
        decoder(*flags, model=model)


def test_a_share_of_the_ctc_head_is_refused_for_a_model_without_one(lm, tmp_path):
    write_tuned(tmp_path, tuned(lm, speller={'ctc_decode_weight': 0.7}))
    headless = ModelConfig(model='las', ctc_weight=0.0)
    for flags, run_dir in ((['--ctc_decode_weight', '0.3'], None), (['--lm', lm], str(tmp_path))):
        with pytest.raises(UsageError, match='--ctc_decode_weight: .* has no CTC head; give 0'):
            decoder(*flags, model=headless, run_dir=run_dir)


@pytest.mark.parametrize('speller', [None, {'no_flag': 1}, 3])
def test_a_damaged_file_of_weights_is_named(lm, tmp_path, speller):
    entry = {} if speller is None else {**dataclasses.asdict(tuned(lm)), 'speller': speller}
    (tmp_path / 'decoding.json').write_text(json.dumps({'language_models': [entry]}))
    with pytest.raises(DataError, match='decoding.json: not what'):
        resolve_decoding(parse('--lm', lm), CTC, str(tmp_path))


def test_a_lexicon_needs_words(lm):
    with pytest.raises(DataError, match='model of characters, which has no words'):
        decoder('--lm', lm, '--lexicon', 'yes')
    with pytest.raises(DataError, match='lm.arpa cannot be a lexicon: it takes a model of words'):
        decoder('--lm', lm, '--lexicon', lm)


def test_texts_that_are_mostly_empty_are_warned_of(caplog):
    warn_if_empty(['', 'a'])
    assert not caplog.text
    warn_if_empty(['', 'a', ''])
    assert '2 of 3 texts are empty' in caplog.text
