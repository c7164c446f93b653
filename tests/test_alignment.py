"""Alignment of recordings in pieces, of indexes and of texts, around a recogniser that reads from a table."""

import importlib
import json

import numpy as np
import pytest
import soundfile

from models.config import ModelConfig
from tests.indexes import make_index
from utils.config import TrainConfig
from utils.data.features import FeatureSpec
from utils.data.statistics import FeatureStatistics
from utils.data.vocabulary import Vocabulary
from utils.errors import DataError
from utils.recognition import alignment
from utils.recognition.alignment import (
    PosteriorKeeper,
    align_index,
    align_recording,
    check_has_ctc,
    overlapping,
    read_text,
)  # fmt: skip
from utils.run_directory import Run, RunConfig

UNIT = 320  # samples per output frame
SECS_PER_FRAME = 0.02


def peaks(text, vocabulary, num_frames, first=10, step=10):
    """Log-posteriors with a symbol every `step` frames from `first` on, blanks elsewhere; probability 0.9 each."""
    classes = len(vocabulary) + 1
    table = np.full((num_frames, classes), np.log(0.1 / (classes - 1)), np.float32)
    path = np.full(num_frames, classes - 1)
    path[first : first + step * len(text) : step] = vocabulary.encode(text)
    table[np.arange(num_frames), path] = np.log(0.9)
    return table


class TableRecognizer:
    """Returns the posteriors of the frames that its features, the numbers of their samples, name."""

    spec = FeatureSpec('fbank', 40)
    secs_per_frame = SECS_PER_FRAME
    config = ModelConfig(features=40, classes=29)

    def __init__(self, table):
        self.vocabulary, self.table, self.sizes = Vocabulary.english(), table, []

    def recognize(self, features, batch_size):
        self.sizes += [len(each) for each in features]
        return [self.table[int(each[0]) // UNIT :][: -(-len(each) // UNIT)] for each in features]


def align_numbers(monkeypatch, text, num_frames, table, block=50_000):
    numbers = np.arange(num_frames * UNIT, dtype=np.float64)
    monkeypatch.setattr(alignment, 'read_blocks', lambda *_: iter(np.split(numbers, range(block, len(numbers), block))))
    monkeypatch.setattr(alignment, '_features', lambda _, samples, __: samples)
    recognizer = TableRecognizer(table)
    return align_recording('a.wav', text, recognizer, PosteriorKeeper()), recognizer


@pytest.mark.parametrize('block', [7, 100, 1000])
@pytest.mark.parametrize('total', [5, 99, 100, 180, 181, 500])
def test_pieces_overlap_and_their_cores_make_up_the_recording(total, block):
    samples, joined = np.arange(total), []
    for before, length, piece in overlapping(np.split(samples, range(block, total, block)), 100, 40):
        start = len(joined)
        assert piece[0] == max(0, start - 40) == start - before
        if length is not None:
            assert (before, length) == (min(40, start), 100)
            assert len(piece) == before + 140
        joined += piece[before:][:length].tolist()
    assert joined == samples.tolist()


def test_words_of_a_long_recording_have_the_times_of_the_whole(monkeypatch):
    text = ' '.join(['hello'] * 60)
    table = peaks(text, Vocabulary.english(), 4000)
    found, recognizer = align_numbers(monkeypatch, text, 4000, table)
    assert len(recognizer.sizes) == 4
    assert max(recognizer.sizes) == 28 * 16000
    assert [word.word for word in found.words] == ['hello'] * 60
    for number, word in enumerate(found.words):
        assert word.start == pytest.approx((10 + 60 * number) * SECS_PER_FRAME)
        assert word.end == pytest.approx((10 + 60 * number + 41) * SECS_PER_FRAME)
        assert word.confidence == pytest.approx(0.9, abs=1e-3)
    assert ''.join(each.word for each in found.symbols) == 'hello' * 60
    assert found.duration == 80.0
    assert found.score == pytest.approx(0, abs=1e-6)


def test_wrong_text_has_a_lower_score(monkeypatch):
    table = peaks('hello you', Vocabulary.english(), 300)
    right, _ = align_numbers(monkeypatch, 'hello you', 300, table)
    wrong, _ = align_numbers(monkeypatch, 'jelly yes', 300, table)
    assert right.score == pytest.approx(0, abs=1e-6)
    assert wrong.score < -1
    described = json.loads(json.dumps(wrong.to_json()))
    assert described['score'] == round(wrong.score, 4)
    assert [each['symbol'] for each in described['symbols']] == list('jellyyes')


def test_recording_too_short_for_its_text_is_named(monkeypatch):
    with pytest.raises(DataError, match=r'a.wav: its 5 frames are too few for the 13 that the text needs'):
        align_numbers(monkeypatch, 'hello hello', 5, peaks('', Vocabulary.english(), 5))


def test_las_answers_with_the_posteriors_of_its_ctc_head():
    keeper, posteriors = PosteriorKeeper(), np.arange(2 * 6 * 3).reshape(2, 6, 3)
    assert keeper.begin(np.array([9, 9]), posteriors, np.array([6, 4]), np.array([3, 2])) == 1
    parents, symbols, is_done = keeper.advance(np.zeros([2, 3]), np.zeros([2, 3]))
    assert (parents.tolist(), symbols.tolist(), bool(is_done)) == ([0, 1], [0, 0], True)
    assert [each.tolist() for each in keeper.results()] == [posteriors[0].tolist(), posteriors[1, :4].tolist()]
    assert keeper.frames_per_output == 2


def test_las_without_a_ctc_head_is_refused():
    check_has_ctc('run', ModelConfig(model='las', ctc_weight=0.5))
    with pytest.raises(DataError, match='run: las of --ctc_weight 0'):
        check_has_ctc('run', ModelConfig(model='las', ctc_weight=0.0))


def test_index_is_sorted_by_score_and_what_does_not_fit_is_counted(tmp_path, caplog):
    index = make_index(tmp_path, [(100, 'yes'), (100, 'no'), (10, 'much too long for this')], 40)
    recognizer = TableRecognizer(peaks('yes', Vocabulary.english(), 50))
    recognizer.recognize = lambda features, _: [recognizer.table[: len(each) // 2] for each in features]
    found = align_index(index, recognizer, PosteriorKeeper(), 4)
    assert [each.text for each in found] == ['no', 'yes']
    assert found[0].score < -1 < found[1].score
    assert any('1 of 3 utterances left out' in message for message in caplog.messages)


@pytest.mark.parametrize(
    ('text', 'wanted'),
    [('It’s "Twenty-One"!\n', "it's twenty one"), ('\ufeffplain text\n\nof two lines', 'plain text of two lines')],
)
def test_text_is_normalised_to_the_vocabulary(text, wanted, tmp_path):
    path = tmp_path / 't.txt'
    path.write_text(text, encoding='utf-8')
    assert read_text(str(path), Vocabulary.english()) == wanted


def test_lines_of_chinese_are_joined_without_spaces(tmp_path):
    path = tmp_path / 't.txt'
    path.write_text('你好，\n你 好。', encoding='utf-8')
    assert read_text(str(path), Vocabulary(['你', '好'])) == '你好你好'


@pytest.mark.parametrize(
    ('content', 'message'),
    [('room 7 is é'.encode(), 'not in the vocabulary of the run: 7 é;'), (b'\xff', 'not UTF-8'), (b'...', 'no text')],
)
def test_text_that_cannot_be_spelled_is_refused(content, message, tmp_path):
    path = tmp_path / 't.txt'
    path.write_bytes(content)
    with pytest.raises(DataError, match=f't.txt: {message}'):
        read_text(str(path), Vocabulary.english())


@pytest.mark.parametrize('arguments', ['a.wav a.txt b.txt', 'a.json --cut out', 'a.wav a.txt --longest 0'])
def test_arguments_that_cannot_work_are_usage_errors(arguments, capsys):
    with pytest.raises(SystemExit) as caught:
        importlib.import_module('scripts.align').main(['-s', 'run', *arguments.split()])
    assert caught.value.code == 2
    assert capsys.readouterr().err.count('\n') == 1


def test_command_prints_words_and_writes_utterances(tmp_path, monkeypatch, capsys):
    run = str(tmp_path / 'run')
    config = RunConfig(ModelConfig(features=40), TrainConfig(), 'fbank-40-0.02-0.01')
    Run.create(run, config, Vocabulary.english(), FeatureStatistics(np.zeros(40), np.ones(40)))
    recognizer = TableRecognizer(peaks('hi yo', Vocabulary.english(), 100))
    recognizer.recognize = lambda features, _: [recognizer.table]
    monkeypatch.setattr('utils.recognition.recognizer.load_recognizer', lambda *_: recognizer)
    soundfile.write(tmp_path / 'a.wav', 0.1 * np.random.default_rng(1).standard_normal(32000), 16000)
    (tmp_path / 'a.txt').write_text('Hi, yo.')
    arguments = [str(tmp_path / 'a.wav'), str(tmp_path / 'a.txt'), '--cut', str(tmp_path / 'cut')]
    assert importlib.import_module('scripts.align').main(['-s', run, *arguments]) == 0
    words = [line.split()[2:5] for line in capsys.readouterr().out.splitlines()]
    assert words == [['0.200', '0.220', 'hi'], ['0.800', '0.220', 'yo']]
    assert sorted(path.name for path in (tmp_path / 'cut').iterdir()) == ['a-0001.flac', 'a.jsonl']
