"""Times a large language model: training from text, first reading of the ARPA file, loading from the cache; its size.

The text is synthetic: words by Zipf's law, half of them a fixed successor of the previous word, so that n-grams
repeat as they do in natural language. Other libraries are not compared.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import measuring

VOCABULARY = 50_000
SENTENCE = 20  # words
LETTERS = 'abcdefghijklmnopqrstuvwxyz'


def write_text(path, num_words):
    """Sentences of made-up words."""
    import numpy as np

    rng = np.random.default_rng(0)
    words = [''.join(rng.choice(list(LETTERS), rng.integers(3, 10))) + LETTERS[i % 26] for i in range(VOCABULARY)]
    chances = 1 / np.arange(1, VOCABULARY + 1)
    ids = rng.choice(VOCABULARY, num_words, p=chances / chances.sum())
    successors = rng.choice(VOCABULARY, VOCABULARY, p=chances / chances.sum())
    follows = rng.random(num_words) < 0.5
    ids[1:] = np.where(follows[1:], successors[ids[:-1]], ids[1:])
    with open(path, 'w') as file:
        for start in range(0, num_words, SENTENCE):
            file.write(' '.join([words[i] for i in ids[start : start + SENTENCE]]) + '\n')


def timed(function):
    """(result of a function, seconds it took)."""
    start = time.perf_counter()
    return function(), time.perf_counter() - start


def main(argv: list[str] | None = None) -> int:
    """Prints a table."""
    parser = argparse.ArgumentParser(description=__doc__.split('\n\n')[0])
    parser.add_argument('--words', type=int, default=10_000_000, help='length of the text (default 10 million)')
    parser.add_argument('-o', '--order', type=int, default=3, help='of the model (default 3)')
    arguments = measuring.start(parser, argv)
    from utils.lm.ngram import cache_paths, load_model

    with tempfile.TemporaryDirectory() as folder:
        text, lm = Path(folder, 'text.txt'), Path(folder, 'lm.arpa')
        write_text(text, arguments.words)
        command = [sys.executable, measuring.ROOT / 'scripts' / 'train_lm.py', '-o', str(arguments.order)]
        _, training = timed(lambda: subprocess.run([*command, '-l', lm, text], check=True, stdout=subprocess.DEVNULL))
        model, reading = timed(lambda: load_model(lm))
        _, loading = timed(lambda: load_model(lm))
        size = cache_paths(lm)[0].stat().st_size / model.num_ngrams
        megabytes = lm.stat().st_size / 1e6
    found = {
        'trained': f'{training:.0f} s: {model.num_ngrams / 1e6:.1f} million n-grams',
        f'ARPA of {megabytes:.0f} MB read first': f'{reading:.0f} s',
        'loaded again': f'{measuring.duration(loading)}, {size:.1f} bytes an n-gram',
    }
    for what, shown in found.items():
        measuring.print_row(measuring.Row(f'language model of {arguments.words / 1e6:g} million words, {what}', shown))
    return 0


if __name__ == '__main__':
    sys.exit(main())
