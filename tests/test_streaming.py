"""Live recognition against the recognition of whole recordings; random weights, noise of changing colour."""

import itertools

import numpy as np
import pytest

from models.config import ModelConfig
from tests.live_runs import write_live_run
from tests.oracles import LN2
from utils.data.features import extract
from utils.decode.ctc_beam import BeamOptions
from utils.decode.decoder import BeamDecoder
from utils.decode.hypothesis import Word
from utils.errors import DataError, UsageError
from utils.lm.arpa import write_arpa
from utils.lm.kneser_ney import estimate, read_corpus
from utils.lm.ngram import load_model
from utils.lm.scorer import Weights, make_scorer
from utils.recognition import streaming
from utils.recognition.recognizer import StreamingModel, load_recognizer
from utils.recognition.streaming import StreamingRecognizer, Utterance

MODELS = {
    'gru': {},
    'lstm, mfcc with deltas, one convolution': {
        'mode': 'mfcc', 'rnn_cell': 'lstm', 'conv_layers': 1, 'activation': 'tanh', 'lookahead_frames': 0
    },
    'rnn, log, three convolutions, no batch norm, dense': {
        'mode': 'log', 'rnn_cell': 'rnn', 'conv_layers': 3, 'activation': 'tanh', 'batch_norm': False,
        'dense_layers': 1, 'lookahead_frames': 20,
    },
}  # fmt: skip
CHUNKS = {'10 ms': [160], '100 ms': [1600], '1 s': [16000], 'odd': [1, 700, 33, 5000, 0, 1603]}


def sound(secs, seed):
    """Noise whose colour and loudness change every 80 ms."""
    rng = np.random.default_rng(seed)
    pieces = []
    for _ in range(int(secs / 0.08)):
        noise = rng.normal(size=1280 + 40)
        pieces.append(rng.uniform(0.001, 0.3) * np.convolve(noise, rng.normal(size=41), 'valid') / 6)
    return np.concatenate(pieces)[: int(secs * 16000) - 7].astype(np.float32)


SOUNDS = [sound(1.5, 1), sound(0.6, 2), sound(2.4, 3)]


class Run:
    """A run, its offline recogniser and its model of one step."""

    def __init__(self, path, **settings):
        self.run = write_live_run(path, **settings)
        self.offline, self.model = load_recognizer(self.run), StreamingModel(self.run)

    def log_probs(self, samples):
        """Posteriors that the offline recogniser hands to its decoder."""
        found = []

        class Keep:
            def decode(self, log_probs, lengths):
                found.extend(rows[:length] for rows, length in zip(log_probs, lengths, strict=True))
                return [None]

        self.offline._decoder = Keep()
        self.offline.recognize([extract(samples, self.offline.spec)], 1)
        self.offline._decoder = None
        return found[0]

    def texts(self, samples, decoder=None):
        self.offline._decoder = decoder
        hypotheses = self.offline.recognize([extract(each, self.offline.spec) for each in samples], 8)
        self.offline._decoder = None
        return [' '.join(self.run.vocabulary.decode(each.ids).split()) for each in hypotheses]


@pytest.fixture(scope='module')
def runs(tmp_path_factory):
    path = tmp_path_factory.mktemp('runs')
    return {name: Run(path / str(i), **settings) for i, (name, settings) in enumerate(MODELS.items())}


@pytest.fixture(scope='module')
def gru(runs):
    return runs['gru']


def chunks(samples, sizes):
    start = 0
    for size in itertools.cycle(sizes):
        yield samples[start : start + size]
        start += size
        if start >= len(samples):
            return


def recognize(recognizer, samples, sizes):
    """All that is returned for one recording."""
    stream, found = recognizer.open(), []
    for chunk in chunks(samples, sizes):
        found += recognizer.step([(stream, chunk)])[0]
    return found + recognizer.finish([stream])[0]


def final_text(utterances):
    return ' '.join(each.text for each in utterances if each.is_final)


def kept_log_probs(recognizer, samples, sizes):
    stream, found = recognizer.open(), []
    add = stream.decoder.add
    stream.decoder.add = lambda rows: (found.append(rows), add(rows))
    for chunk in chunks(samples, sizes):
        recognizer.step([(stream, chunk)])
    recognizer.finish([stream])
    return np.concatenate(found)


@pytest.mark.parametrize('sizes', CHUNKS.values(), ids=CHUNKS)
@pytest.mark.parametrize('name', MODELS)
def test_chunks_give_the_posteriors_of_the_whole_recording(runs, name, sizes):
    run = runs[name]
    for samples in SOUNDS[:2]:
        found = kept_log_probs(StreamingRecognizer(run.model, None, 0), samples, sizes)
        np.testing.assert_allclose(found, run.log_probs(samples), atol=1e-4)


def test_single_samples_give_the_posteriors_of_the_whole_recording(gru):
    samples = SOUNDS[0][:3210]
    found = kept_log_probs(StreamingRecognizer(gru.model, None, 0), samples, [1])
    np.testing.assert_allclose(found, gru.log_probs(samples), atol=1e-4)


@pytest.fixture(scope='module')
def beam(gru, tmp_path_factory):
    """A beam search with a word model of what is recognised without it."""
    texts = gru.texts(SOUNDS)
    assert len(set(texts)) == 3 and all(len(text) > 3 for text in texts)
    words = [[text[i : i + 3].strip() or 'a' for i in range(0, len(text), 3)] for text in texts]
    words = [' '.join(each).split() for each in words]
    path, corpus = tmp_path_factory.mktemp('lm') / 'lm.arpa', read_corpus(words)
    write_arpa(path, corpus.words, estimate(corpus, 2))
    scorer = make_scorer(load_model(path), gru.run.vocabulary.tokens, Weights(1.5, 0.5))
    return BeamDecoder(28, BeamOptions(beam_width=30), scorer)


@pytest.mark.parametrize('sizes', CHUNKS.values(), ids=CHUNKS)
def test_chunks_give_the_texts_of_the_whole_recording_greedily_and_with_beam_and_language_model(gru, beam, sizes):
    for decoder in (None, beam):
        recognizer = StreamingRecognizer(gru.model, decoder, 0)
        found = [final_text(recognize(recognizer, samples, sizes)) for samples in SOUNDS]
        assert found == gru.texts(SOUNDS, decoder)
    assert gru.texts(SOUNDS, beam) != gru.texts(SOUNDS)


def test_streams_in_one_call_give_what_each_gives_alone(gru, beam):
    recognizer = StreamingRecognizer(gru.model, beam, 300)
    alone = [recognize(recognizer, samples, [800]) for samples in SOUNDS]
    streams, found = [recognizer.open() for _ in SOUNDS], [[] for _ in SOUNDS]
    for start in range(0, max(map(len, SOUNDS)), 800):
        going_on = [i for i, samples in enumerate(SOUNDS) if start < len(samples)]
        results = recognizer.step([(streams[i], SOUNDS[i][start : start + 800]) for i in going_on])
        for i, utterances in zip(going_on, results, strict=True):
            found[i] += utterances
    for each, utterances in zip(found, recognizer.finish(streams), strict=True):
        each += utterances
    assert [[each.text for each in utterances] for utterances in found] == [[e.text for e in each] for each in alone]


def test_int16_at_another_rate_is_resampled_as_a_file_is(gru):
    scaled = np.round(SOUNDS[0] * 32767).astype(np.int16)
    recognizer = StreamingRecognizer(gru.model)
    found = final_text(recognize(recognizer, scaled, [1000]))
    assert found == final_text(recognize(recognizer, scaled.astype(np.float32) / 32768, [333])) != ''
    stream = recognizer.open(8000)
    recognizer.step([(stream, scaled[:801])])
    recognizer.finish([stream])
    assert stream.num_samples == 1602


def test_text_so_far_comes_only_when_it_is_new_and_words_have_times(gru):
    found = recognize(StreamingRecognizer(gru.model), SOUNDS[2], [160])
    *partials, last = found
    assert last.is_final and not any(each.is_final for each in partials)
    texts = [each.text for each in partials]
    assert len(texts) > 5 and all(one != other for one, other in itertools.pairwise(texts))
    assert all(0 <= word.start < word.end <= len(SOUNDS[2]) / 16000 for word in last.words)
    assert (last.start, last.end) == (last.words[0].start, last.words[-1].end)
    assert 0 < last.confidence <= 1


class Letters:
    """The vocabulary: a, space, b; the blank is class 3."""

    tokens, has_space, separator = ['a', ' ', 'b'], True, ''


class StubModel:
    """A model whose output frames are given: class ids, one a frame of 20 ms, in place of the features."""

    secs_per_frame, delay, state_size, time_stride = 0.02, 0, 1, 2
    config, vocabulary = ModelConfig(classes=4, features=40), Letters()

    def __init__(self, run, ids):
        self.spec, self.statistics = run.offline.spec, run.run.statistics
        self.ids = np.array(ids)

    def step(self, features, start, lengths, states):
        frames = start[:, None] + np.arange(features.shape[1] // 2)
        log_probs = np.full((*frames.shape, 4), -20.0)
        np.put_along_axis(log_probs, self.ids[frames][..., None], -LN2, 2)
        return log_probs, states


def utter(gru, ids, endpoint_ms, sizes=(1600,)):
    model = StubModel(gru, ids + [3] * 9)
    samples = np.zeros(320 * len(ids), np.float32)
    return recognize(StreamingRecognizer(model, None, endpoint_ms), samples, sizes)


def finals(utterances):
    return [(each.text, round(each.start, 3), round(each.end, 3)) for each in utterances if each.is_final]


A, SPACE, B, BLANK = range(4)


@pytest.mark.parametrize('sizes', [[160], [1600], [100_000]], ids=str)
def test_silence_ends_an_utterance_at_the_same_frame_whatever_the_chunks(gru, sizes):
    ids = [BLANK] * 50 + [A, A, BLANK, B] + [BLANK] * 9 + [B, SPACE] + [BLANK] * 10 + [A, SPACE, A] + [BLANK] * 30
    found = utter(gru, ids, 200, sizes)
    assert finals(found) == [('abb', 1.0, 1.28), ('a a', 1.5, 1.56)]
    assert finals(utter(gru, ids, 180, sizes)) == [('ab', 1.0, 1.08), ('b', 1.26, 1.28), ('a a', 1.5, 1.56)]
    assert finals(utter(gru, ids, 0, sizes)) == [('abb a a', 1.0, 1.56)]


def test_the_final_text_comes_as_soon_as_the_silence_is_long_enough(gru):
    model = StubModel(gru, [A] + [BLANK] * 99)
    recognizer = StreamingRecognizer(model, None, 200)
    stream = recognizer.open()
    chunk, ended = np.zeros(1280, np.float32), []
    for number in range(8):
        ended += [number for each in recognizer.step([(stream, chunk)])[0] if each.is_final]
    assert ended == [2]  # of 80 ms each: the third one completes the 11th frame


def test_a_long_utterance_ends_at_a_short_gap_and_at_last_without_one(gru, monkeypatch):
    monkeypatch.setattr(streaming, 'LONG_SECS', 1)
    monkeypatch.setattr(streaming, 'LONGEST_SECS', 2)
    gap = [BLANK] * 10
    found = finals(utter(gru, [A] * 20 + gap + [B] * 30 + gap + [A] * 130, 1000))
    assert found == [('ab', 0.0, 1.2), ('a', 1.4, 3.4), ('a', 3.4, 4.0)]


def test_nothing_recognised_is_no_utterance(gru):
    assert utter(gru, [BLANK] * 100, 200) == []
    recognizer = StreamingRecognizer(StubModel(gru, [A] * 9), None)
    assert recognizer.finish([recognizer.open()]) == [[]]


@pytest.mark.parametrize(
    ('samples', 'error', 'words'),
    [
        (np.zeros((2, 2), np.float32), ValueError, 'one channel'),
        (np.zeros(2, np.int32), ValueError, 'int16'),
        (np.array([0, np.nan]), DataError, 'finite'),
    ],
)
def test_samples_of_another_kind_are_refused_before_any_stream_takes_its_own(gru, samples, error, words):
    recognizer = StreamingRecognizer(gru.model)
    one, other = recognizer.open(), recognizer.open()
    with pytest.raises(error, match=words):
        recognizer.step([(one, np.zeros(999)), (other, samples)])
    assert one.num_samples == 0


def test_a_recording_that_has_ended_takes_no_more(gru):
    recognizer = StreamingRecognizer(gru.model)
    stream = recognizer.open()
    recognizer.finish([stream])
    with pytest.raises(ValueError, match='has ended'):
        recognizer.step([(stream, np.zeros(9))])


@pytest.mark.parametrize(
    'config',
    [ModelConfig('las'), ModelConfig('ds1', bidirectional=False), ModelConfig('ds2')],
    ids=lambda config: config.model,
)
def test_a_model_that_needs_the_whole_recording_is_refused_with_what_to_train(config):
    with pytest.raises(UsageError) as caught:
        streaming.require_one_direction(config, 'RUN')
    assert 'RUN holds ' in str(caught.value) and 'run_train.py -md ds2 -ub no' in str(caught.value)


def test_an_utterance_as_json_has_its_words_and_times():
    word = Word('hi', 0.12345, 0.5, 0.98765)
    assert Utterance(True, 'hi', 0.12345, 0.5, 0.98765, (word,)).to_json() == {
        'text': 'hi', 'start': 0.123, 'end': 0.5, 'confidence': 0.9877,
        'words': [{'word': 'hi', 'start': 0.123, 'end': 0.5, 'confidence': 0.9877}],
    }  # fmt: skip
