"""Scores a trained model on indexes: word and character error rates, the worst utterances, all hypotheses in files."""

import argparse
import logging
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from utils.cli import Parser, count, natural
from utils.decode.decoder import add_decoding_flags, make_decoder
from utils.errors import run_main

if TYPE_CHECKING:
    from utils.report import IndexResult

log = logging.getLogger(__name__)


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = Parser(
        prog='run_test.py',
        description='Score a trained model: corpus-level WER and CER with substitutions (S), deletions (D) and '
        'insertions (I) for each index, and the worst utterances aligned. The run directory says everything '
        'about the model.',
    )
    parser.add_argument('-s', '--savepath', required=True, metavar='RUN', help='run directory, written by run_train.py')
    parser.add_argument('-t', '--testfiles', nargs='+', required=True, metavar='INDEX', help='indexes, one or more')
    parser.add_argument('-b', '--batch_size', type=count, default=16, help='utterances at once')
    parser.add_argument('--out', metavar='DIR', help='where each index gets its directory (default: RUN/test)')
    parser.add_argument('--worst', type=natural, default=5, metavar='N', help='utterances to show aligned, an index')
    add_decoding_flags(parser)
    return parser.parse_args(argv)


def index_names(paths: Sequence[str]) -> list[str]:
    """The stems of the indexes, numbered where one repeats: each names a row of the table and a directory."""
    names: list[str] = []
    for path in paths:
        stem = name = Path(path).stem
        number = 2
        while name in names:
            name, number = f'{stem}-{number}', number + 1
        names.append(name)
    return names


def evaluate_indexes(recognizer, paths: Sequence[str], batch_size: int, checkpoint: str) -> 'list[IndexResult]':
    """Evaluates a recognizer on each index; all of them are read before the first is evaluated."""
    from utils.data.index import read_index
    from utils.report import IndexResult

    indexes = [read_index([path]) for path in paths]
    results = []
    for name, index in zip(index_names(paths), indexes, strict=True):
        evaluation = recognizer.evaluate(index, batch_size)
        log_probs = [hypothesis.log_prob for hypothesis in evaluation.hypotheses]
        results.append(
            IndexResult(
                name,
                index.keys,
                evaluation.references,
                evaluation.texts,
                log_probs,
                evaluation.scores,
                evaluation.loss,
                checkpoint,
            )
        )
    return results


def report(results: 'Sequence[IndexResult]', out_dir: Path, num_worst: int) -> None:
    """Writes the hypotheses below ``out_dir``; prints the worst utterances, then the table."""
    from utils.report import format_table, format_worst, write_hypotheses

    for result in results:
        paths = write_hypotheses(result, out_dir / result.name)
        log.info('%s: hypotheses in %s and %s', result.name, *paths)
        worst = format_worst(result, num_worst)
        if worst:
            print(f'The worst of {result.name}:\n\n{worst}\n')
    print(format_table([(result.name, result.scores) for result in results]), flush=True)


def main(argv: Sequence[str] | None = None) -> int:
    args = parse_args(argv)
    from run_train import load_recognizer

    recognizer = load_recognizer(args.savepath, args.checkpoint)
    recognizer.decoder = make_decoder(args, recognizer.vocabulary.tokens)
    results = evaluate_indexes(recognizer, args.testfiles, args.batch_size, args.checkpoint)
    report(results, Path(args.out or Path(args.savepath) / 'test'), args.worst)
    return 0


if __name__ == '__main__':
    sys.exit(run_main(main))
