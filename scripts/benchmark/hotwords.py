"""Tests hot words: names of a dev set found with a language model that lacks them, the other errors, and the time.

Two lists are tried: names spelled out in dev ("m a p l e"), and the words of five letters or more that are rarest in
the training set. The language models are trained on the training transcripts without any sentence that holds one of
the list. Each list is decoded alone and among 1,000 phrases, the others made of spelled names of the training set.
Times are those of the process on one core, the shortest of several. Prints a Markdown table.
"""

import argparse
import random
import re
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parent.parent.parent))

LM_WEIGHTS = {'none': (0.0, 0.0), 'word': (0.3125, 1.125), 'char': (0.96875, 2.625)}  # tuned on AN4 (utils/decode)
ORDERS = {'word': 3, 'char': 10}
SPELLED = re.compile(r'(?:(?<= )|^)[a-z](?: [a-z]){3,}(?= |$)')


class Decoded(NamedTuple):
    """Texts of the dev set, and the seconds that they took."""

    texts: list
    secs: float


def parse_args():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('-s', '--savepath', required=True, help='run directory')
    parser.add_argument('-t', '--train', required=True, help='index of the training set, the text of language models')
    parser.add_argument('-d', '--dev', required=True, help='index of the dev set')
    parser.add_argument('--lms', nargs='+', default=['none', 'word', 'char'], choices=list(LM_WEIGHTS),
                        help='language models (default: none word char)')  # fmt: skip
    parser.add_argument('--lists', nargs='+', default=['names', 'words'], choices=['names', 'words'],
                        help='lists of hot words (default: names words)')  # fmt: skip
    parser.add_argument('--weights', nargs='+', type=float, default=[1.0], help='hotword_weight, one or more')
    parser.add_argument('--listed', type=int, default=50, help='phrases of a list (default: 50, as many as there are)')
    parser.add_argument('--many', type=int, default=1000, help='phrases of the long list (default: 1000; 0: none)')
    parser.add_argument('--repeats', type=int, default=3, help='decodings of which the fastest counts (default: 3)')
    parser.add_argument('--seed', type=int, default=1, help='random seed of the other phrases (default: 1)')
    return parser.parse_args()


def hot_phrases(kind, train, dev, number):
    """The phrases of dev to be found: spelled names in their order, or words, the rarest in training first."""
    if kind == 'names':
        return list(dict.fromkeys(name for text in dev for name in SPELLED.findall(text)))[:number]
    counts = Counter(word for text in train for word in text.split())
    words = sorted({word for text in dev for word in text.split() if len(word) >= 5})
    return sorted(words, key=lambda word: counts[word])[: min(number, 16)]


def other_phrases(train, phrases, number, seed):
    """Spelled names of the training set, and such names with their letters in another order."""
    rng, known = random.Random(seed), set(phrases)
    names = list(dict.fromkeys(name for text in train for name in SPELLED.findall(text)))
    found = [name for name in names if name not in known]
    while len(set(found)) < number - len(phrases):
        letters = rng.choice(names).split()
        rng.shuffle(letters)
        found.append(' '.join(letters))
    return [name for name in dict.fromkeys(found) if name not in known][: number - len(phrases)]


def occurrences(phrase, text):
    """How often the words of a phrase stand in a text."""
    return f' {text} '.replace(' ', '  ').count(f' {phrase} '.replace(' ', '  '))


def train_lm(unit, sentences, path):
    """Trains a language model of words or characters."""
    from utils.lm.arpa import write_arpa
    from utils.lm.kneser_ney import estimate, read_corpus

    split = str.split if unit == 'word' else lambda text: ['<SPACE>' if letter == ' ' else letter for letter in text]
    corpus = read_corpus([split(text) for text in sentences])
    write_arpa(path, corpus.words, estimate(corpus, ORDERS[unit]))


def ctc_decode(run, index):
    """Function that decodes dev from its posteriors: (options, scorer, hot words or None) -> ids of each utterance."""
    from utils.decode.ctc_beam import BeamOptions, decode
    from utils.decode.decoder import GreedyDecoder
    from utils.lm.scorer import no_scorer
    from utils.recognition.recognizer import load_recognizer

    blank_id = len(run.vocabulary)
    recognizer = load_recognizer(run, 'best', GreedyDecoder(blank_id))
    result = recognizer.evaluate(recognizer.prepare(index), 16, keep_posteriors=True)
    utterances = [each.astype('float32') for each in result.posteriors]

    def decode_all(options, scorer, hotwords):
        scorer = scorer or no_scorer(blank_id)
        scorer = scorer._replace(hotwords=hotwords) if hotwords else scorer
        return [best.ids for best, *_ in decode(utterances, blank_id, BeamOptions(options.beam_width), scorer, 1)]

    return decode_all


def las_decode(run, index):
    """As `ctc_decode`, with the beam search beside the graph."""
    from utils.decode.attention_beam import AttentionBeam
    from utils.recognition.recognizer import load_recognizer

    class Switch:
        search = None

        def __getattr__(self, name):
            return getattr(self.search, name)

    switch = Switch()
    recognizer = load_recognizer(run, 'best', switch)
    references = recognizer.prepare(index)

    def decode_all(options, scorer, hotwords):
        switch.search = AttentionBeam(len(run.vocabulary), options, scorer, hotwords)
        return [each.ids for each in recognizer.evaluate(references, 16).hypotheses]

    return decode_all


def row(references, texts, phrases):
    """Recall, false finds, and WER of the utterances with and without hot words."""
    from utils.metrics import score

    wanted = found = false = 0
    for reference, text in zip(references, texts, strict=True):
        for phrase in phrases:
            here, there = occurrences(phrase, reference), occurrences(phrase, text)
            wanted, found, false = wanted + here, found + min(here, there), false + max(0, there - here)
    has = [any(occurrences(phrase, reference) for phrase in phrases) for reference in references]
    rates = []
    for kind in (True, False):
        pairs = [(a, b) for a, b, each in zip(references, texts, has, strict=True) if each == kind]
        rates.append(100 * score([a for a, _ in pairs], [b for _, b in pairs], True).words.rate)
    return f'{found} of {wanted} | {false} | {rates[0]:.1f} % | {rates[1]:.1f} %'


def compare(args, run, options, decode_all, train, dev, folder):
    """Prints the rows of the table."""
    from utils.lm.hotwords import read_hotwords
    from utils.lm.scorer import load_scorer

    def timed(*arguments):
        secs = []
        for _ in range(args.repeats):
            before = time.process_time()
            ids = decode_all(options, *arguments)
            secs.append(time.process_time() - before)
        return Decoded([run.vocabulary.decode(each) for each in ids], min(secs))

    for kind in args.lists:
        phrases = hot_phrases(kind, train, dev, args.listed)
        many = phrases + other_phrases(train, phrases, args.many, args.seed)
        clean = [text for text in train if not any(occurrences(phrase, text) for phrase in phrases)]
        for unit in args.lms:
            path = Path(folder, f'{kind}-{unit}.arpa')
            if unit != 'none':
                train_lm(unit, clean, path)

            def scorer_of(words, unit=unit, path=path):
                weights = LM_WEIGHTS[unit]
                return None if unit == 'none' else load_scorer(str(path), run.vocabulary.tokens, *weights, 'no', words)

            decode_all(options, scorer_of(()), None)  # compiles
            plain = timed(scorer_of(()), None)
            name = f'{len(phrases)} {kind} ({len(clean)} sentences)'
            print(f'| {name} | {unit} | none | {row(dev, plain.texts, phrases)} | 1 |', flush=True)
            for weight in args.weights:
                for listed in (phrases, many) if args.many else (phrases,):
                    hot = read_hotwords(','.join(listed), run.vocabulary, weight)
                    found = timed(scorer_of(hot.words), hot.graph)
                    cells = f'{weight:g}, {len(listed)} phrases | {row(dev, found.texts, phrases)}'
                    print(f'| {name} | {unit} | {cells} | {found.secs / plain.secs:.2f} |', flush=True)


def main():
    args = parse_args()
    from utils.data.index import read_index
    from utils.decode.options import BEAM_WIDTHS, DEFAULT_CTC_WEIGHT, DecodingOptions
    from utils.run_directory import Run

    run, index = Run.open(args.savepath), read_index([args.dev])
    family = run.config.model.family
    train, dev = list(read_index([args.train]).texts), list(index.texts)
    share = DEFAULT_CTC_WEIGHT if family == 'attention' and run.config.model.ctc_weight else 0.0
    options = DecodingOptions(family=family, beam_width=BEAM_WIDTHS[family], ctc_decode_weight=share)
    decode_all = (las_decode if family == 'attention' else ctc_decode)(run, index)
    print('| list (text of the language model) | model | weight | found | false | WER with | WER without | time |')
    print('|---|---|---|---|---|---|---|---|')
    with tempfile.TemporaryDirectory() as folder:
        compare(args, run, options, decode_all, train, dev, folder)
    return 0


if __name__ == '__main__':
    sys.exit(main())
