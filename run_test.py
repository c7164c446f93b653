"""Scores a trained model on indexes: word and character error rates, the worst utterances, all hypotheses in files."""

import argparse
import logging
import sys
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

from utils.cli import Parser, count, natural
from utils.decode.decoder import add_decoding_flags, add_nbest_flag, make_decoder, resolve_decoding, warn_if_empty
from utils.decode.spelling_decoder import (
    add_spelling_flags,
    make_spelling_decoder,
    refuse_spelling_flags,
    warn_of_runaways,
)
from utils.errors import UsageError, run_main
from utils.run_directory import RunConfig

if TYPE_CHECKING:
    from utils.data.index import Index
    from utils.data.vocabulary import Vocabulary
    from utils.recognition.report import IndexResult

log = logging.getLogger(__name__)

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


def evaluate_indexes(recognizer, indexes: 'Sequence[Index]', names: Sequence[str], args) -> 'list[IndexResult]':
    """Evaluates a recognizer on each index, and keeps its posteriors where ``args`` ask for it."""
    from utils.recognition.posteriors import POSTERIORS_NAME

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
    from utils.recognition.report import Evaluation

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


def index_result(name: str, index: 'Index', evaluation, checkpoint: str, vocabulary: 'Vocabulary') -> 'IndexResult':
    """The outcome of an index, as `utils.recognition.report` takes it."""
    from utils.recognition.report import IndexResult

    hypotheses = evaluation.hypotheses
    nbest = None
    if any(getattr(hypothesis, 'alternatives', ()) for hypothesis in hypotheses):
        nbest = [
            [{'text': vocabulary.decode(text.ids), **text.scores()} for text in (best, *best.alternatives)]
            for best in hypotheses
        ]
    return IndexResult(
        name,
        index.keys,
        evaluation.references,
        evaluation.texts,
        [hypothesis.log_prob for hypothesis in hypotheses],
        evaluation.scores,
        evaluation.loss,
        checkpoint,
        nbest,
    )


def spells(args: argparse.Namespace) -> bool:
    """Whether the run's model is las.

    Raises:
      UsageError: a flag that is for the other models.
    """
    if RunConfig.load(args.savepath).model.model != 'las':
        refuse_spelling_flags(args)
        return False
    for name in ('save_posteriors', 'posteriors'):
        if getattr(args, name, None):
            raise UsageError(f'--{name} is for ds1 and ds2: las has no posteriors apart from a text; leave it out')
    return True


def recognizer_decoder(
    args: argparse.Namespace, decoding, recognizer, from_posteriors: bool = False
) -> Callable | None:
    """The decoder that suits a recogniser's model; None is greedy."""
    config, tokens = recognizer.config, recognizer.vocabulary.tokens
    if config.model == 'las':
        return make_spelling_decoder(args, decoding, tokens, bool(config.ctc_weight))
    return make_decoder(decoding, tokens, from_posteriors)


def results_dir(args: argparse.Namespace) -> Path:
    """Where each index gets its directory."""
    return Path(args.out or Path(args.savepath) / 'test')


def report(results: 'Sequence[IndexResult]', out_dir: Path, num_worst: int) -> None:
    """Writes the hypotheses below ``out_dir``; prints the worst utterances, then the table."""
    from utils.recognition.report import format_table, format_worst, write_hypotheses

    for result in results:
        paths = write_hypotheses(result, out_dir / result.name)
        log.info('%s: hypotheses in %s and %s', result.name, *paths)
        worst = format_worst(result, num_worst)
        if worst:
            print(f'The worst of {result.name}:\n\n{worst}\n')
    print(format_table([(result.name, result.scores) for result in results]), flush=True)


def main(argv: Sequence[str] | None = None) -> int:
    args = parse_args(argv)
    from utils.data.index import read_index

    decoding = resolve_decoding(args, args.savepath, spells(args))
    names = index_names(args.testfiles)
    indexes = [read_index([path]) for path in args.testfiles]  # all of them before the first is evaluated
    if args.posteriors:
        from utils.data.vocabulary import VOCABULARY_NAME, Vocabulary

        vocabulary = Vocabulary.read(str(Path(args.savepath) / VOCABULARY_NAME))
        decoder = make_decoder(decoding, vocabulary.tokens, from_posteriors=True)
        results = decode_indexes(decoder, indexes, names, args, vocabulary)
    else:
        from run_train import load_recognizer

        recognizer = load_recognizer(args.savepath, args.checkpoint)
        recognizer.decoder = recognizer_decoder(args, decoding, recognizer, from_posteriors=args.save_posteriors)
        results = evaluate_indexes(recognizer, indexes, names, args)
    if args.lm:
        warn_if_empty([text for result in results for text in result.hypotheses])
    report(results, results_dir(args), args.worst)
    return 0


if __name__ == '__main__':
    sys.exit(run_main(main))
