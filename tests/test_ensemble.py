"""Runs that recognise together: what is averaged, what votes, and what cannot be combined."""

import collections
import dataclasses
import itertools
import json
import math

import numpy as np
import pytest
import soundfile

import run_predict
import run_test
from models.config import ModelConfig
from tests.indexes import make_index
from tests.oracles import collapse
from utils.config import TrainConfig
from utils.data.features import FeatureSpec
from utils.data.index import read_index
from utils.data.statistics import FeatureStatistics
from utils.data.vocabulary import Vocabulary
from utils.decode.greedy import best_paths
from utils.decode.hypothesis import Span, SpelledHypothesis
from utils.errors import DataError, UsageError, run_main
from utils.recognition.ensemble_options import open_team
from utils.recognition.posteriors import Posteriors, rounded
from utils.recognition.report import References
from utils.run_directory import Run, RunConfig

VOCABULARY = Vocabulary([' ', 'a', 'b', 'c'])
SPECS = {'mfcc': 'mfcc-13-0.02-0.01', 'fbank': 'fbank-40-0.02-0.01'}


class Member:
    """A recogniser whose posteriors or hypotheses are given; it notes the dimensions of the features that it gets."""

    def __init__(self, run, decoder, answer, secs_per_frame=0.02):
        self.vocabulary, self.config = run.vocabulary, run.config.model
        self.spec = FeatureSpec.parse(run.config.feature_spec)
        self.weights, self.secs_per_frame = f'{run.path[-1]}-1 (c0ffee)', secs_per_frame
        self._decoder, self._answer = decoder, answer
        self.dimensions = set()

    def prepare(self, index):
        return References.prepare(index, self.vocabulary)

    def recognize(self, features, batch_size):
        self.dimensions |= {each.shape[1] for each in features}
        if self.config.family == 'attention':
            return [self._answer for _ in features]
        batch = np.stack([self._answer] * len(features))
        lengths = np.full(len(features), batch.shape[1])
        if self._decoder is None:
            return best_paths(batch.argmax(2), batch.max(2), lengths, 4)
        return self._decoder.decode(batch, lengths)


def log_probs(*frames):
    """Log-posteriors of frames given as {class: probability}; the rest goes to the blank, class 4."""
    probs = np.full((len(frames), 5), 1e-6)
    for row, frame in zip(probs, frames, strict=True):
        for symbol, probability in frame.items():
            row[symbol] = probability
        row[4] = max(1e-6, 1 - row[:4].sum())
    return np.log(probs / probs.sum(1, keepdims=True)).astype('f')


@pytest.fixture
def make_runs(tmp_path, monkeypatch):
    """Writes runs: (name, model, features, answer) each; their recognisers give the answers."""
    members = {}

    def make(*settings, vocabulary=VOCABULARY):
        answers, paths = {}, []
        for name, model, mode, answer, *secs in settings:
            featlen = FeatureSpec.parse(SPECS[mode]).featlen
            config = ModelConfig(model, features=featlen, classes=len(vocabulary) + 1)
            config = dataclasses.replace(config, ctc_weight=0.0) if model == 'las' else config
            path = str(tmp_path / name)
            Run.create(
                path, RunConfig(config, TrainConfig(), SPECS[mode]), vocabulary,
                FeatureStatistics(np.zeros(featlen), np.ones(featlen)),
            )  # fmt: skip
            answers[path] = answer, *secs
            paths.append(path)

        def load(run, checkpoint, decoder, devices=None):
            members[run.path[-1]] = Member(run, decoder, *answers[run.path])
            return members[run.path[-1]]

        monkeypatch.setattr('utils.recognition.recognizer.load_recognizer', load)
        return paths

    make.members = members
    return make


@pytest.fixture
def index(tmp_path):
    """Path of an index of "a b" and "b"."""
    make_index(tmp_path, [(4, 'a b'), (6, 'b')])
    return str(tmp_path / 'train.json')


# alone, one finds "a c" and the other "b b"; the peaks of the second model come two frames later
ONE = log_probs({1: 0.9, 2: 0.05}, {0: 0.9}, {2: 0.4, 3: 0.5})
TWO = log_probs({}, {}, {1: 0.4, 2: 0.5}, {0: 0.9}, {2: 0.8, 3: 0.1})


def log_probs_of_texts(posteriors):
    """log p(y | x) of every text, by summing over all paths."""
    totals = collections.Counter()
    for path in itertools.product(range(5), repeat=len(posteriors)):
        text = VOCABULARY.decode(collapse(path, 4))
        totals[text] += math.exp(sum(posteriors[t, symbol] for t, symbol in enumerate(path)))
    return {text: math.log(total) for text, total in totals.items()}


def mean_of_both(text):
    return (log_probs_of_texts(ONE)[text] + log_probs_of_texts(TWO)[text]) / 2


def test_the_text_of_the_best_mean_log_probability_is_found(make_runs, index, tmp_path, capsys):
    one, two = make_runs(('1', 'ds2', 'mfcc', ONE), ('2', 'ds2', 'mfcc', TWO))
    test = ['-s', one, two, '-t', index, '--worst', '0', '--nbest', '4']
    assert run_test.main(test) == 0
    assert capsys.readouterr().out.splitlines()[-1].split()[:3] == ['train', '2', '33.33']
    document = json.loads((tmp_path / '1/ensemble/train/hypotheses.json').read_text())
    assert [each['hypothesis'] for each in document['utterances']] == ['a b', 'a b']
    found = {each['text']: each['log_prob'] for each in document['utterances'][0]['nbest']}
    of_one, of_two = log_probs_of_texts(ONE), log_probs_of_texts(TWO)
    means = {text: (of_one[text] + of_two[text]) / 2 for text in of_one.keys() & of_two.keys()}
    assert list(found) == sorted(means, key=means.get, reverse=True)[:4]
    assert found == pytest.approx({text: means[text] for text in found}, abs=1e-3)
    assert document['decoding']['runs'] == [one, two] and document['decoding']['combine'] == 'posteriors'
    assert document['decoding']['weights'] == '1-1 (c0ffee) + 2-1 (c0ffee)' and document['loss'] is None
    assert (tmp_path / '1/ensemble/train/report.html').exists()


def test_a_language_model_counts_once(make_runs, index, tmp_path):
    one, two = make_runs(('1', 'ds2', 'mfcc', ONE), ('2', 'ds2', 'mfcc', TWO))
    (tmp_path / 'lm.arpa').write_text(
        '\\data\\\nngram 1=7\n\n\\1-grams:\n-9 <unk>\n-99 <s>\n-1 </s>\n'
        '-0.9 b\n-0.1 a\n-0.1 c\n-0.5 <SPACE>\n\n\\end\\\n'
    )
    flags = ['--lm', str(tmp_path / 'lm.arpa'), '--lm_weight', '0.7', '--word_bonus', '0.5', '--nbest', '2']
    assert run_test.main(['-s', one, '-s', two, '-t', index, *flags]) == 0
    document = json.loads((tmp_path / '1/ensemble/train/hypotheses.json').read_text())
    assert len(document['utterances'][0]['nbest']) == 2
    ln10 = math.log(10)
    for each in document['utterances'][0]['nbest']:
        lm = ln10 * (sum({'a': -0.1, 'b': -0.9, 'c': -0.1, ' ': -0.5}[letter] for letter in each['text']) - 1)
        mean = mean_of_both(each['text'])
        assert each['score'] == pytest.approx(mean + 0.7 * lm + 0.5 * len(each['text']), abs=1e-3)


def test_hot_words_count_once(make_runs, index, tmp_path):
    one, two = make_runs(('1', 'ds2', 'mfcc', ONE), ('2', 'ds2', 'mfcc', TWO))
    assert run_test.main(['-s', one, two, '-t', index, '--hotwords', 'b:0.5', '--nbest', '3']) == 0
    document = json.loads((tmp_path / '1/ensemble/train/hypotheses.json').read_text())
    found = {each['text']: each['score'] for each in document['utterances'][0]['nbest']}
    assert 'b b' in found
    for text, score in found.items():
        assert score == pytest.approx(mean_of_both(text) + 0.5 * text.split().count('b'), abs=1e-3)


def test_saved_posteriors_of_each_run_are_decoded_together(make_runs, index, tmp_path, monkeypatch):
    one, two = make_runs(('1', 'ds2', 'mfcc', ONE), ('2', 'ds2', 'mfcc', TWO))
    for path, answer in ((one, ONE), (two, TWO)):
        origin = VOCABULARY.tokens, path, 'best', 'model-1 (c0ffee)'
        Posteriors.of([rounded(answer)] * 2, read_index([index]), *origin).save(f'{path}/test/train')
    monkeypatch.setattr('utils.recognition.recognizer.load_recognizer', None)
    assert run_test.main(['-s', one, two, '-t', index, '--posteriors', f'{one}/test', f'{two}/test']) == 0
    document = json.loads((tmp_path / '1/ensemble/train/hypotheses.json').read_text())
    assert [each['hypothesis'] for each in document['utterances']] == ['a b', 'a b']


def test_runs_of_other_features_each_get_their_own_of_a_recording(make_runs, tmp_path, capsys):
    one, two = make_runs(('1', 'ds2', 'mfcc', ONE), ('2', 'ds2', 'fbank', TWO))
    soundfile.write(tmp_path / 'a.wav', 0.1 * np.random.default_rng(1).standard_normal(16000), 16000)
    assert run_predict.main(['-s', one, '-s', two, str(tmp_path / 'a.wav')]) == 0
    assert capsys.readouterr().out == 'a b\n'
    assert (make_runs.members['1'].dimensions, make_runs.members['2'].dimensions) == ({13}, {40})


def spelled(text, confidence):
    ids = tuple(VOCABULARY.encode(text))
    spans = tuple(Span(t, t + 1, float(np.log(confidence))) for t in range(len(ids)))
    return SpelledHypothesis(ids, -1.0, spans, -1.0, False)


def test_spellers_vote_beside_ctc_models(make_runs, index, tmp_path, capsys):
    paths = make_runs(
        ('1', 'las', 'mfcc', spelled('a b', 0.7), 0.08), ('2', 'ds2', 'mfcc', ONE), ('3', 'ds2', 'mfcc', TWO)
    )
    flags = ['--beam_width', '3', '--temperature', '1.5']
    assert run_test.main(['-s', *paths, '-t', index, '--worst', '0', *flags]) == 0
    document = json.loads((tmp_path / '1/ensemble/train/hypotheses.json').read_text())
    assert [each['hypothesis'] for each in document['utterances']] == ['a b', 'a b']
    assert document['decoding']['combine'] == 'rover' and document['decoding']['beam_width'] == 3
    assert document['decoding']['temperature'] == [1.5, 1.0, 1.0]  # it is for las


def test_ctc_models_vote_where_it_is_asked_for(make_runs, index, tmp_path):
    """The texts are "a c", "b b" and "b c"."""
    three = log_probs({2: 0.9}, {0: 0.9}, {3: 0.9})
    paths = make_runs(('1', 'ds2', 'mfcc', ONE), ('2', 'ds2', 'mfcc', TWO), ('3', 'ds2', 'mfcc', three))
    assert run_test.main(['-s', *paths, '-t', index, '--combine', 'rover']) == 0
    document = json.loads((tmp_path / '1/ensemble/train/hypotheses.json').read_text())
    assert document['utterances'][0]['hypothesis'] == 'b c'


def opened(*flags):
    return open_team(run_test.parse_args([*flags, '-t', 'index.json']))


@pytest.mark.parametrize(
    ('flags', 'message'),
    [
        ('-s 1 1', 'twice; name each run once'),
        ('-s 1 --combine rover', '-s names one'),
        ('-s 1 3 --combine posteriors', '3 is a las, .* give --combine rover'),
        ('-s 1 3 --nbest 2', 'a vote of several runs has one text'),
        ('-s 1 2 --save_posteriors', 'is for one run: save those of each'),
        ('-s 1 2 --posteriors DIR', 'names 1 directories, -s 2 runs; name one'),
        ('-s 1 2 --combine rover --posteriors DIR DIR', 'is for --combine posteriors'),
        ('-s 1 2 --beam_width 0', 'several runs need a beam'),
        ('-s 1 2 --temperature 2', 'is for las, the run holds another model'),
    ],
)
def test_what_cannot_be_combined_is_one_line(flags, message, make_runs, tmp_path, monkeypatch):
    make_runs(('1', 'ds2', 'mfcc', ONE), ('2', 'ds2', 'mfcc', TWO), ('3', 'las', 'mfcc', None))
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match=message) as caught:
        opened(*flags.split())
    assert '\n' not in str(caught.value)


def test_other_vocabularies_and_features_are_refused(make_runs, index, tmp_path, capsys):
    (one,) = make_runs(('1', 'ds2', 'mfcc', ONE))
    (other,) = make_runs(('9', 'ds2', 'mfcc', ONE), vocabulary=Vocabulary([' ', 'a', 'b', 'd']))
    with pytest.raises(DataError, match=r'1 and .*9 have different vocabularies \(4 and 4 tokens\)'):
        opened('-s', one, other)
    one, two = make_runs(('1', 'ds2', 'mfcc', ONE), ('2', 'ds2', 'fbank', TWO))
    capsys.readouterr()
    assert run_main(lambda: run_test.main(['-s', one, two, '-t', index])) == 1
    assert 'features mfcc-13-0.02-0.01, but the run' in capsys.readouterr().err


def test_live_audio_takes_one_run(make_runs, capsys):
    one, two = make_runs(('1', 'ds2', 'mfcc', ONE), ('2', 'ds2', 'mfcc', TWO))
    assert run_main(lambda: run_predict.main(['-s', one, '-s', two, '--stream', '-'])) == 2
    assert '-s names 2 runs, --stream takes one' in capsys.readouterr().err
