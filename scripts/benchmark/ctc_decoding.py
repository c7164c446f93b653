"""Compares the CTC prefix beam search with those of other libraries: time on one core and scores found.

Times are processor times, so that other load on the machine matters little. The posteriors are synthetic (500 frames,
29 symbols, peaked as those of CTC models), or written by ``run_test.py --save_posteriors``. flashlight-text,
pyctcdecode and KenLM are installed from PyPI into a separate environment; TensorFlow is the project's own.
The score of a text is Q(y) of `utils.decode.ctc_beam`, with the exact log p(y | x), for all libraries.
"""

import argparse
import json
import logging
import os
import subprocess
import sys
import tempfile
import time
import venv
from collections.abc import Callable, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from utils.cli import Parser  # noqa: E402
from utils.errors import DataError, run_main  # noqa: E402

log = logging.getLogger(__name__)

PACKAGES = ('numpy<2', 'flashlight-text==0.0.7', 'pyctcdecode==0.5.0', 'kenlm==0.3.0')
PEERS_SCRIPT = Path(__file__).with_name('ctc_decoding_peers.py')
NUM_FRAMES = 500
LM_WEIGHT, WORD_BONUS = 0.8, 1.0
OURS = 'this project'


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = Parser(prog='ctc_decoding.py', description=__doc__.split('\n\n')[0])
    parser.add_argument(
        '--posteriors',
        metavar='NPZ',
        help='English posteriors written by run_test.py --save_posteriors (default: synthetic ones, peaked)',
    )
    parser.add_argument('--lm', help='ARPA word model for the runs with one (default: one trained on synthetic text)')
    parser.add_argument('--utterances', type=int, default=10, help='number of utterances to decode')
    parser.add_argument('--repeats', type=int, default=3, help='decodings of each utterance; the fastest counts')
    parser.add_argument('--beam_width', type=int, default=100, help='prefixes kept per frame')
    default = Path(os.environ.get('XDG_CACHE_HOME') or Path.home() / '.cache') / 'ctc-decoding-peers'
    parser.add_argument('--env', default=str(default), metavar='DIR', help='environment of the other libraries')
    parser.add_argument('--json', metavar='FILE', help='write the figures to this file too')
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    args = parse_args(argv)
    import numpy as np

    from utils.data.vocabulary import Vocabulary
    from utils.lm.ngram import load_model
    from utils.lm.scorer import Weights, make_scorer

    python = make_environment(Path(args.env))
    tokens = Vocabulary.english().tokens
    with tempfile.TemporaryDirectory() as directory:
        sentences = synthetic_sentences(np.random.default_rng(0))
        lm_path = args.lm or train_model(sentences, f'{directory}/lm.arpa')
        posteriors = (
            read_posteriors(args.posteriors, tokens) if args.posteriors else synthetic_posteriors(sentences, tokens)
        )
        posteriors = posteriors[: args.utterances]
        scorer = make_scorer(load_model(lm_path), tokens, Weights(LM_WEIGHT, WORD_BONUS), unknown_words=False)
        job = {
            'tokens': tokens,
            'lm': lm_path,
            'words': lexicon_words(lm_path, tokens),
            'lm_weight': LM_WEIGHT,
            'word_bonus': WORD_BONUS,
            'beam_width': args.beam_width,
            'repeats': args.repeats,
        }
        Path(directory, 'job.json').write_text(json.dumps(job))
        np.savez(f'{directory}/posteriors.npz', *posteriors)
        figures = {}
        for heading, each_scorer, peers in (
            ('without language model', None, ('flashlight-text', 'tensorflow', 'pyctcdecode')),
            ('with a word model, its words only', scorer, ('flashlight-text-lm', 'pyctcdecode-lm')),
        ):  # fmt: skip
            found = {OURS: run_ours(posteriors, each_scorer, args.beam_width, args.repeats)}
            for peer in peers:
                found[peer] = run_peer(peer, sys.executable if peer == 'tensorflow' else python, directory)
            figures[heading] = report(heading, found, posteriors, tokens, each_scorer)
    if args.json:
        Path(args.json).write_text(json.dumps(figures, indent=1) + '\n')
    return 0


def make_environment(directory: Path) -> str:
    """Installs the other libraries unless they are there; returns the Python of their environment."""
    python, stamp = directory / 'bin' / 'python', directory / 'packages.txt'
    if not stamp.exists() or stamp.read_text() != '\n'.join(PACKAGES):
        log.info('installing %s into %s', ', '.join(PACKAGES), directory)
        venv.create(directory, with_pip=True, clear=True)
        done = subprocess.run([python, '-m', 'pip', 'install', '-q', *PACKAGES], check=False)
        if done.returncode:
            raise DataError(f'{directory}: pip could not install {" ".join(PACKAGES)}; see its message above')
        stamp.write_text('\n'.join(PACKAGES))
    return str(python)


def synthetic_sentences(rng) -> list[list[str]]:
    """Sentences of pseudo-words in which each word has few successors, so that a language model is informative."""
    syllables = [first + second for first in 'bdfgklmnprstvw' for second in ('a', 'e', 'i', 'o', 'u', 'an', 'er', 'is')]
    words = sorted({''.join(rng.choice(syllables, size=rng.integers(1, 4))) for _ in range(3000)})
    followers = rng.integers(0, len(words), size=(len(words), 8))
    sentences = []
    for _ in range(3000):
        word, sentence = int(rng.integers(0, len(words))), []
        for _ in range(18):
            sentence.append(words[word])
            word = int(followers[word, int(min(7, rng.geometric(0.4) - 1))])
        sentences.append(sentence)
    return sentences


def train_model(sentences: list[list[str]], path: str) -> str:
    from utils.lm.arpa import write_arpa
    from utils.lm.kneser_ney import estimate, read_corpus

    corpus = read_corpus(sentences)
    write_arpa(path, corpus.words, estimate(corpus, 3))
    return path


def lexicon_words(lm_path: str, tokens: Sequence[str]) -> list[str]:
    """Words of the lexicon, for the libraries that need a list."""
    from utils.lm.ngram import load_model

    letters = set(tokens) - {' '}
    return [word for word in load_model(lm_path).words if letters.issuperset(word)]


def synthetic_posteriors(sentences: list[list[str]], tokens: Sequence[str]) -> list:
    """Peaked posteriors: blanks nearly certain, symbols less so and confused with a few others."""
    import numpy as np

    rng = np.random.default_rng(1)
    utterances = []
    for sentence in sentences[-50:]:
        symbols = [tokens.index(letter) for letter in ' '.join(sentence)[:150].rsplit(' ', 1)[0]] + [tokens.index(' ')]
        blank_id = len(tokens)
        probs = rng.dirichlet(np.full(blank_id + 1, 0.1), size=NUM_FRAMES) * rng.uniform(0, 0.02, (NUM_FRAMES, 1))
        probs[:, blank_id] += 1 - probs.sum(axis=1)
        frames = np.sort(rng.choice(NUM_FRAMES, len(symbols), replace=False))
        for frame, symbol in zip(frames, symbols, strict=True):
            certainty = rng.uniform(0.4, 1.0)
            confused = rng.dirichlet(np.full(blank_id + 1, 0.08))
            probs[frame] = (1 - certainty) * confused
            probs[frame, symbol] += certainty
        probs = np.maximum(probs, 1e-9)
        utterances.append(np.log(probs / probs.sum(axis=1, keepdims=True)).astype(np.float32))
    return utterances


def read_posteriors(path: str, tokens: Sequence[str]) -> list:
    """Saved posteriors, the longest utterances first, so that a small number of them is still representative work."""
    from utils.recognition.posteriors import Posteriors

    posteriors = Posteriors.load(path)
    if list(posteriors.tokens) != list(tokens):
        raise DataError(f'{path}: of a run with another vocabulary than the English alphabet, which this script needs')
    return sorted((each.astype('float32') for each in posteriors.utterances()), key=len, reverse=True)


def fastest(function: Callable, utterances: Sequence, repeats: int) -> tuple[list, list[float]]:
    """(results, minimum seconds over ``repeats``) for the utterances."""
    results, seconds = [], []
    function(utterances[0])  # compiles, fills caches
    for utterance in utterances:
        times = []
        for _ in range(repeats):
            start = time.process_time()
            result = function(utterance)
            times.append(time.process_time() - start)
        results.append(result)
        seconds.append(min(times))
    return results, seconds


def run_ours(posteriors: Sequence, scorer, beam_width: int, repeats: int) -> tuple[list, list[float]]:
    from utils.decode.ctc_beam import BeamOptions, decode

    def decode_one(log_probs):
        options = BeamOptions(beam_width=beam_width)
        return decode([log_probs], log_probs.shape[1] - 1, options, scorer, 1)[0][0].ids

    return fastest(decode_one, posteriors, repeats)


def run_peer(peer: str, python: str, directory: str) -> tuple[list, list[float]] | None:
    """(ids, seconds) of another library; None if it fails, which is logged."""
    environment = {**os.environ, 'OMP_NUM_THREADS': '1', 'TF_CPP_MIN_LOG_LEVEL': '3', 'CUDA_VISIBLE_DEVICES': ''}
    environment.pop('PYTHONPATH', None)
    command = [python, str(PEERS_SCRIPT), peer, directory]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        log.warning('%s failed: %s', peer, (done.stderr.strip().splitlines() or ['no message'])[-1])
        return None
    found = json.loads(done.stdout.splitlines()[-1])
    return found['ids'], found['seconds']


def report(heading: str, found: dict, posteriors: Sequence, tokens: Sequence[str], scorer) -> dict:
    """Prints a row for each library; returns the figures."""
    import numpy as np

    from utils.decode.ctc_beam import score_text

    blank_id = len(tokens)
    figures = {}
    print(f'\n{heading}: {len(posteriors)} utterances of {int(np.median([len(each) for each in posteriors]))} frames')
    print(f'{"":20}{"median ms":>10}{"times ours":>12}{"mean score":>13}{"ours better":>13}{"ours worse":>12}')
    for name, result in found.items():
        if result is None:
            continue
        texts, seconds = result
        pairs = zip(posteriors, texts, strict=True)
        scores = np.array([score_text(each, ids, blank_id, scorer) for each, ids in pairs])
        median = float(np.median(seconds) * 1e3)
        ours = figures.setdefault(OURS, {'median_ms': median, 'scores': scores.tolist()})
        gains = np.array(ours['scores']) - scores
        better, worse = int((gains > 1e-3).sum()), int((gains < -1e-3).sum())
        figures[name] = {'median_ms': median, 'ratio': median / ours['median_ms'], 'scores': scores.tolist()}
        allowed = scores[np.isfinite(scores)]
        mean = f'{allowed.mean():.3f}' if len(allowed) == len(scores) else f'{len(scores) - len(allowed)} forbidden'
        print(f'{name:20}{median:10.2f}{median / ours["median_ms"]:12.1f}{mean:>13}{better:13}{worse:12}')
    return figures


if __name__ == '__main__':
    sys.exit(run_main(main))
