"""Scores a trained model on indexes: word and character error rates, the worst utterances, all hypotheses in files."""

import argparse
import sys
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

from utils.cli import Parser, count, natural
from utils.decode.options import add_decoding_flags, add_nbest_flag, add_spelling_flags, resolve_decoding
from utils.errors import run_main

if TYPE_CHECKING:
    from utils.data.index import Index
    from utils.data.vocabulary import Vocabulary
    from utils.recognition.report import IndexResult

UTTERANCES_AT_ONCE = 64  # enough for any number of cores, and little memory


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
    add_nbest_flag(parser)
    posteriors = parser.add_mutually_exclusive_group()
    posteriors.add_argument(
        '--save_posteriors',
        action='store_true',
        help='write what the acoustic model says beside the hypotheses, to decode again without running it',
    )
    posteriors.add_argument(
        '--posteriors',
        metavar='DIR',
        help='decode what --save_posteriors wrote below this directory, which is --out then (RUN/test by default)',
    )
    add_decoding_flags(parser)
    add_spelling_flags(parser)
    return parser.parse_args(argv)


def evaluate_indexes(recognizer, indexes: 'Sequence[Index]', names: Sequence[str], args) -> 'list[IndexResult]':
    """Evaluates a recognizer on each index, and keeps its posteriors where ``args`` ask for it."""
    from utils.decode.decoder import warn_of_runaways
    from utils.recognition.posteriors import POSTERIORS_NAME
    from utils.recognition.report import index_result

    results = []
    for name, index in zip(names, indexes, strict=True):
        saving = nullcontext()
        if args.save_posteriors:
            from utils.recognition.acoustic import saving_posteriors

            path = results_dir(args) / name / POSTERIORS_NAME
            saving = saving_posteriors(recognizer, args.savepath, args.checkpoint, index, path)
        with saving:
            evaluation = recognizer.evaluate(index, args.batch_size)
        if recognizer.config.model == 'las':
            warn_of_runaways([Path(key).stem for key in index.keys], evaluation.hypotheses)
        results.append(index_result(name, index, evaluation, args.checkpoint, recognizer.vocabulary))
    return results


def decode_indexes(
    decoder: Callable, indexes: 'Sequence[Index]', names: Sequence[str], args, vocabulary: 'Vocabulary'
) -> 'list[IndexResult]':
    """Decodes the saved posteriors of each index; all of them are opened before the first is decoded."""
    from utils.data.transcripts import references
    from utils.metrics import score
    from utils.recognition.posteriors import open_posteriors
    from utils.recognition.report import Evaluation, index_result

    opened = [
        open_posteriors(args.posteriors, name, path, index.keys, vocabulary.tokens, args.checkpoint)
        for name, path, index in zip(names, args.testfiles, indexes, strict=True)
    ]
    results = []
    for name, index, posteriors in zip(names, indexes, opened, strict=True):
        hypotheses = []
        for first in range(0, len(posteriors), UTTERANCES_AT_ONCE):
            utterances = posteriors[first : first + UTTERANCES_AT_ONCE]
            hypotheses += decoder(utterances, [len(utterance) for utterance in utterances])
        texts = [vocabulary.decode(hypothesis.ids) for hypothesis in hypotheses]
        transcripts = references(index, vocabulary)
        evaluation = Evaluation(hypotheses, transcripts, texts, None, score(transcripts, texts, vocabulary.has_words))
        results.append(index_result(name, index, evaluation, args.checkpoint, vocabulary))
    return results


def results_dir(args: argparse.Namespace) -> Path:
    """Where each index gets its directory."""
    return Path(args.out or Path(args.savepath) / 'test')


def main(argv: Sequence[str] | None = None) -> int:
    args = parse_args(argv)
    from utils.data.index import read_index
    from utils.decode.decoder import make_decoder, warn_if_empty
    from utils.recognition.recognizer import load_recognizer, recognizer_decoder, spells
    from utils.recognition.report import index_names, report

    decoding = resolve_decoding(args, args.savepath, spells(args))
    names = index_names(args.testfiles)
    indexes = [read_index([path]) for path in args.testfiles]  # all of them before the first is evaluated
    if args.posteriors:
        from utils.data.vocabulary import VOCABULARY_NAME, Vocabulary

        vocabulary = Vocabulary.read(str(Path(args.savepath) / VOCABULARY_NAME))
        decoder = make_decoder(decoding, vocabulary.tokens, from_posteriors=True)
        results = decode_indexes(decoder, indexes, names, args, vocabulary)
    else:
        recognizer = load_recognizer(args.savepath, args.checkpoint)
        recognizer.decoder = recognizer_decoder(args, decoding, recognizer, from_posteriors=args.save_posteriors)
        results = evaluate_indexes(recognizer, indexes, names, args)
    if args.lm:
        warn_if_empty([text for result in results for text in result.hypotheses])
    report(results, results_dir(args), args.worst)
    return 0


if __name__ == '__main__':
    sys.exit(run_main(main))
