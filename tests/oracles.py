"""Oracles and stand-ins that several test modules share: brute-force CTC, toy n-gram models, a fake recogniser."""

import itertools
import math

import numpy as np

from utils.data.features import FeatureSpec, extract
from utils.data.vocabulary import Vocabulary
from utils.decode.hypothesis import Hypothesis, Span
from utils.lm.arpa import write_arpa
from utils.lm.hotwords import read_hotwords
from utils.lm.kneser_ney import estimate, read_corpus
from utils.lm.ngram import load_model

END = 3  # and the blank of the CTC head
CLASSES = 4

TOKENS = [' ', 'a', 'b']
BLANK = 3
WORD_TEXT = ['a ab b', 'ab a', 'b b ab', 'a', 'ab ab a b']

LN2 = float(np.log(2))


def all_texts(limit):
    """All texts of up to `limit` symbols, as tuples of ids."""
    return itertools.chain.from_iterable(itertools.product(range(END), repeat=n) for n in range(limit + 1))


def ctc_head(frames, seed):
    """Random log-probabilities `[frames, CLASSES]`."""
    log_probs = np.random.default_rng(seed).normal(size=[frames, CLASSES])
    return log_probs - np.logaddexp.reduce(log_probs, axis=1, keepdims=True)


def ctc_probability(log_probs, text):
    """Sum over all paths; the blank is the last class."""
    total = 0.0
    for path in itertools.product(range(CLASSES), repeat=len(log_probs)):
        if collapse(path, END) == text:
            total += math.exp(sum(log_probs[t, symbol] for t, symbol in enumerate(path)))
    return total


def collapse(path, blank_id=BLANK):
    """The text of a CTC path: repeats merged, then blanks removed."""
    return tuple(symbol for symbol, _ in itertools.groupby(path) if symbol != blank_id)


def ngram_model(tmp_path, sentences, order=2):
    """An n-gram model of sentences (lists of tokens), written as ARPA and read again."""
    corpus = read_corpus(sentences)
    path = tmp_path / 'lm.arpa'
    write_arpa(path, corpus.words, estimate(corpus, order))
    return load_model(path)


def word_model(tmp_path):
    return ngram_model(tmp_path, [line.split() for line in WORD_TEXT])


def char_model(tmp_path):
    sentences = [['<SPACE>' if letter == ' ' else letter for letter in line] for line in WORD_TEXT]
    return ngram_model(tmp_path, sentences, order=3)


def boost_of_words(text, weights):
    """The boost of hot words by plain matching of whole words: weights for each symbol by phrase."""
    words, total = text.split(), 0.0
    for phrase, weight in weights.items():
        wanted = phrase.split()
        places = range(len(words) - len(wanted) + 1)
        total += weight * len(phrase) * sum(words[place : place + len(wanted)] == wanted for place in places)
    return total


def hotwords_of(weights, tokens=TOKENS):
    """`Hotwords` of weights by phrase."""
    return read_hotwords(','.join(f'{phrase}:{weight}' for phrase, weight in weights.items()), Vocabulary(tokens), 1.0)


class EchoRecognizer:
    """Recognises the same symbols in every piece: one a frame from frame 1 on, each with probability 1/2."""

    spec = FeatureSpec('fbank', 40)
    secs_per_frame = 0.02
    weights = 'model-1 (c0ffee)'

    def __init__(self, vocabulary, text):
        self.vocabulary = vocabulary
        self.ids = tuple(vocabulary.encode(text))
        self.rounds = []

    def extract(self, samples):
        return extract(samples, self.spec)

    def recognize(self, features, batch_size):
        self.rounds.append([len(frames) for frames in features])
        spans = tuple(Span(frame, frame + 1, -LN2) for frame in range(1, len(self.ids) + 1))
        return [Hypothesis(self.ids, -LN2 * len(self.ids), spans) for _ in features]
