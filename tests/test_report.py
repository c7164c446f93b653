"""The table, the worst utterances and the files of a test."""

import json
import math

from tests.indexes import make_index
from utils.data.vocabulary import Vocabulary
from utils.decode.hypothesis import Hypothesis
from utils.metrics import score
from utils.recognition.report import (
    Evaluation,
    References,
    format_table,
    format_worst,
    index_names,
    utterance_names,
    write_hypotheses,
)

DECODING = {'checkpoint': 'best', 'beam_width': 0, 'lm': None, 'weights': 'model-7 (c0ffee)'}


def result(references, hypotheses, has_word_boundaries=True, loss=None):
    keys = [f'feat/utt-{number}.npz' for number in range(len(references))]
    scores = score(references, hypotheses, has_word_boundaries)
    return Evaluation(keys, references, [Hypothesis((), -1.5, ())] * len(keys), hypotheses, scores, loss=loss)


def test_names_of_indexes_do_not_repeat():
    assert index_names(['a/dev.json', 'b/dev.json', 'test.json']) == ['dev', 'dev-2', 'test']
    assert index_names(['...json', '..json', '/']) == ['index..', 'index.', 'index']


def test_hypotheses_are_scored_against_transcripts_as_the_vocabulary_spells_them(tmp_path):
    references = References.prepare(make_index(tmp_path, [(4, 'a  b'), (1, 'ab')]), Vocabulary.english(), 1)
    assert list(references.texts) == [Vocabulary.english().decode(Vocabulary.english().encode('a  b')), 'ab']
    assert references.fits.tolist()[1] is False  # two symbols in one frame
    ids = [Vocabulary.english().encode(text) for text in (references.texts[0], 'a')]
    found = Evaluation.score(references, [Hypothesis(tuple(each), -1.0, ()) for each in ids], Vocabulary.english(), 2.0)
    assert (found.texts[1], found.loss, found.nbest) == ('a', 2.0, None)
    assert found.scores.sentence_error_rate == 0.5


def test_table_shows_rates_and_what_they_consist_of():
    scores = score(['the cat sat', 'on'], ['the bat sat up', 'on'])
    assert format_table([('dev-clean', scores)]).split('\n') == [
        'index      utterances  WER %  S  D  I  CER %  S  D  I  sentence errors %',
        'dev-clean           2  50.00  1  0  1  30.77  1  0  3              50.00',
    ]


def test_table_of_chinese_characters_has_no_wer():
    scores = score(['绿是阳春', '烟景'], ['绿是杨春', '烟景'], has_word_boundaries=False)
    assert format_table([('test', scores)]).split('\n') == [
        'index  utterances  CER %  S  D  I  sentence errors %',
        'test            2  16.67  1  0  0              50.00',
    ]


def test_columns_are_as_wide_as_the_widest_index():
    scores = score(['a'], ['a'])
    lines = format_table([('a', scores), ('a-long-name', scores)]).split('\n')
    assert len({len(line) for line in lines}) == 1


def test_worst_come_first_and_correct_ones_not_at_all():
    test = result(['a b c d', 'a b', 'a', 'a b c'], ['a b c x', 'x b', 'a', 'x y z'])
    heads = [block.split('\n')[0] for block in format_worst(test, 5).split('\n\n')]
    assert heads == [
        'utt-3: 3 errors in 3 words (100.0 %)',
        'utt-1: 1 errors in 2 words (50.0 %)',
        'utt-0: 1 errors in 4 words (25.0 %)',
    ]
    assert format_worst(test, 1).count('REF:') == 1
    assert format_worst(test, 0) == ''


def test_worst_are_aligned():
    assert format_worst(result(['the cat on'], ['the bat on up']), 1).split('\n')[1:] == [
        'REF: the cat on **',
        'HYP: the bat on up',
        'OP:      S      I',
    ]


def test_worst_chinese_are_aligned_by_character():
    assert 'REF: 绿 是\nHYP: 绿 ** \nOP:     D'.replace(' \n', '\n') in format_worst(result(['绿是'], ['绿'], False), 1)


def test_utterances_are_called_by_stem_unless_stems_repeat():
    assert utterance_names(['f/a.npz', 'g/b.npz']) == ['a', 'b']
    assert utterance_names(['f/a.npz', 'g/a.npz']) == ['f/a.npz', 'g/a.npz']


def test_text_file_holds_utterance_tab_text(tmp_path):
    text_path, _ = write_hypotheses(result(['a', 'b'], ['x  y', '']), tmp_path / 'new' / 'dir', 'dev', {})
    assert text_path.read_bytes() == b'utt-0\tx  y\nutt-1\t\n'  # as it was scored


def test_json_file_holds_references_errors_and_scores(tmp_path):
    _, json_path = write_hypotheses(result(['a b', '绿'], ['a', '绿'], loss=2.5), tmp_path, 'dev', DECODING)
    document = json.loads(json_path.read_text(encoding='utf-8'))
    assert document['utterances'][0] == {
        'utterance': 'utt-0',
        'key': 'feat/utt-0.npz',
        'reference': 'a b',
        'hypothesis': 'a',
        'words': {'hits': 1, 'substitutions': 0, 'deletions': 1, 'insertions': 0},
        'characters': {'hits': 1, 'substitutions': 0, 'deletions': 2, 'insertions': 0},
        'log_prob': -1.5,
    }
    assert (document['index'], document['checkpoint'], document['loss']) == ('dev', 'best', 2.5)
    assert document['decoding'] == DECODING
    assert document['scores']['wer'] == 1 / 3
    assert document['scores']['utterances'] == 2
    assert '绿' in json_path.read_text(encoding='utf-8')


def test_texts_of_other_options_or_weights_are_kept(tmp_path, caplog):
    write_hypotheses(result(['a'], ['greedy']), tmp_path, 'dev', DECODING)
    write_hypotheses(result(['a'], ['again']), tmp_path, 'dev', DECODING)
    assert not caplog.text and len(list(tmp_path.iterdir())) == 2
    for changes in ({'beam_width': 8}, {'weights': 'model-9 (c0ffee)'}):
        before = [path.read_bytes() for path in sorted(tmp_path.glob('hypotheses.*')) if path.suffix != '.bak']
        write_hypotheses(result(['a'], ['beam']), tmp_path, 'dev', {**DECODING, **changes})
        assert [path.read_bytes() for path in sorted(tmp_path.glob('*.bak'))] == before
        assert 'dev: texts that were decoded with other options or weights are kept as' in caplog.text
        caplog.clear()


def test_json_has_null_for_infinity(tmp_path):
    _, json_path = write_hypotheses(result(['a'], ['a'], loss=math.inf), tmp_path, 'dev', {})
    assert json.loads(json_path.read_text(), parse_constant=lambda name: 1 / 0)['loss'] is None


def test_json_of_no_utterances_is_valid(tmp_path):
    _, json_path = write_hypotheses(result([], []), tmp_path, 'dev', {})
    assert json.loads(json_path.read_text())['utterances'] == []
