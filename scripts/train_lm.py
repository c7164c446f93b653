"""Trains an n-gram language model from text and transcripts, for decoding with it."""

import argparse
import logging
import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from utils.cli import Parser, natural, number  # noqa: E402
from utils.errors import UsageError, run_main  # noqa: E402
from utils.lm import MAX_ORDER  # noqa: E402

log = logging.getLogger(__name__)


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = Parser(
        prog='train_lm.py',
        description='Train an n-gram language model: interpolated modified Kneser-Ney, written in ARPA format. '
        'Text is spelled as the vocabulary can: case and accents are folded, punctuation falls, and words (in '
        'text without spaces: characters) that it still cannot spell become <unk>.',
    )
    parser.add_argument(
        'texts',
        nargs='+',
        metavar='TEXT_OR_INDEX',
        help='UTF-8 text, a sentence a line or from <s> to </s>, or indexes (.json: their transcripts); .gz too',
    )
    parser.add_argument(
        '-l', '--lm', required=True, metavar='LM', help='the ARPA file to write; gzipped if it ends in .gz'
    )
    order = number(int, 1, MAX_ORDER)
    parser.add_argument('-o', '--order', type=order, default=3, help=f'words in the longest n-grams, 1 to {MAX_ORDER}')
    parser.add_argument(
        '--unit',
        choices=('char', 'word'),
        default='word',
        help='what a word of the model is: a word between spaces, or a token of the vocabulary (which Chinese takes)',
    )
    parser.add_argument(
        '--prune',
        nargs='+',
        type=natural,
        default=[0],
        metavar='COUNT',
        help='leave out n-grams that occur COUNT times or less: one number an order, the first 0, '
        'the last for the orders above too; 0 0 1 drops trigrams seen once',
    )
    source = parser.add_mutually_exclusive_group()
    source.add_argument('-s', '--savepath', metavar='RUN', help='run whose vocabulary to spell with')
    source.add_argument(
        '-v', '--vocabfile', help='vocabulary to spell with, one TOKEN ID a line (default: the English alphabet)'
    )
    parser.add_argument(
        '--check',
        nargs='+',
        metavar='INDEX',
        help='warn if transcripts of these test indexes are in the text '
        '(default: the indexes named *test* beside the ones given)',
    )
    args = parser.parse_args(argv)
    if args.prune[0] != 0 or args.prune != sorted(args.prune) or len(args.prune) > args.order:
        parser.error(
            f'--prune {" ".join(map(str, args.prune))}: give up to {args.order} numbers that do not fall, '
            'the first 0, such as 0 0 1'
        )
    return args


def main(argv: Sequence[str] | None = None) -> int:
    args = parse_args(argv)
    from utils.data.vocabulary import Vocabulary
    from utils.lm.arpa import write_arpa
    from utils.lm.kneser_ney import estimate, read_corpus
    from utils.lm.text import Overlap, TextNormalizer, find_test_indexes, read_sentences
    from utils.run_directory import read_vocabulary

    vocabulary = Vocabulary.english()
    if args.savepath or args.vocabfile:
        vocabulary = Vocabulary.read(args.vocabfile) if args.vocabfile else read_vocabulary(args.savepath)
    if args.unit == 'word' and not vocabulary.has_space:
        raise UsageError(f'--unit word: {vocabulary.name} has no space to part words with; train with --unit char')
    normalizer = TextNormalizer(vocabulary.tokens, args.unit)
    checked = args.check if args.check is not None else find_test_indexes(args.texts)
    overlap = Overlap(checked, TextNormalizer(vocabulary.tokens, args.unit))
    corpus = read_corpus(overlap.watch(map(normalizer, read_sentences(args.texts))))
    for line in (*overlap.warnings(), *normalizer.warnings()):
        log.warning('%s', line)
    rows = estimate(corpus, args.order, args.prune)
    write_arpa(args.lm, corpus.words, rows)
    num_ngrams = ', '.join(f'{len(each.log_probs)} {order}-grams' for order, each in enumerate(rows, 1))
    num_words = len(corpus.ids) - 2 * corpus.num_sentences
    print(f'{args.lm}: {num_ngrams} from {corpus.num_sentences} sentences of {num_words} {args.unit}s')
    return 0


if __name__ == '__main__':
    sys.exit(run_main(main))
