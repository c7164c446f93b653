"""Scores a trained model on indexes: word and character error rates, the worst utterances, all hypotheses in files."""

import argparse
import dataclasses
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from utils.cli import Parser, add_options, count, given_options, natural, yes_no
from utils.config import DEVICE_OPTIONS, RunFlags
from utils.decode.options import DecodingOptions, lm_id, resolve_decoding
from utils.errors import run_main
from utils.system import import_tensorflow

if TYPE_CHECKING:
    from utils.data.index import Index
    from utils.run_directory import Run


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = Parser(
        prog='run_test.py',
        description='Score a trained model: corpus-level WER and CER with substitutions (S), deletions (D) and '
        'insertions (I) for each index, and the worst utterances aligned.',
    )
    parser.add_argument('-s', '--savepath', required=True, metavar='RUN', help='run directory, or packed run')
    parser.add_argument('-t', '--testfiles', nargs='+', required=True, metavar='INDEX', help='indexes, one or more')
    parser.add_argument('-b', '--batch_size', type=count, help='utterances at once (default: 16)')
    parser.add_argument('--out', metavar='DIR', help='where each index gets its directory (default: RUN/test)')
    parser.add_argument('--worst', type=natural, default=5, metavar='N', help='utterances to show aligned, an index')
    parser.add_argument(
        '--html',
        type=yes_no,
        default='yes',
        metavar='{yes,no}',
        help='write report.html beside the hypotheses: rates with intervals, confusions, the worst utterances',
    )
    parser.add_argument(
        '--compare',
        metavar='OTHER',
        help='run directory, --out directory or hypotheses.json of another test on the same indexes: '
        'where the two differ, and whether significantly',
    )
    posteriors = parser.add_mutually_exclusive_group()
    posteriors.add_argument(
        '--save_posteriors',
        action='store_true',
        help='write the log-posteriors of the acoustic model beside the hypotheses, to decode them again without it',
    )
    posteriors.add_argument(
        '--posteriors',
        metavar='DIR',
        help='decode what --save_posteriors wrote below this directory, its --out (RUN/test by default)',
    )
    add_options(parser, DecodingOptions)
    add_options(parser, RunFlags, DEVICE_OPTIONS)
    args = parser.parse_args(argv)
    of_model = ['-b'] * bool(args.batch_size) + [f'--{name}' for name in DEVICE_OPTIONS if name in args]
    if args.posteriors and of_model:
        parser.error(f'{of_model[0]} is for the model, which --posteriors does without; leave one of them out')
    args.batch_size = args.batch_size or 16
    return args


def evaluate(
    args: argparse.Namespace, options: DecodingOptions, run: 'Run', indexes: 'dict[str, Index]', out_dir: Path
):
    """The evaluation of each index by name, and the weights; saves the posteriors where the flags ask for them."""
    from utils.decode.decoder import load_decoder, warn_of_runaways

    decoder = load_decoder(options, run.vocabulary.tokens, from_posteriors=args.save_posteriors)
    import_tensorflow()
    from utils.recognition.posteriors import Posteriors
    from utils.recognition.recognizer import load_recognizer

    devices = RunFlags(**given_options(args, RunFlags))
    recognizer, results = load_recognizer(run, options.checkpoint, decoder, devices), {}
    for name, index in indexes.items():
        result = recognizer.evaluate(recognizer.prepare(index), args.batch_size, args.save_posteriors)
        if result.posteriors is not None:
            origin = run.vocabulary.tokens, run.path, options.checkpoint, recognizer.weights
            Posteriors.of(result.posteriors, index, *origin).save(out_dir / name)
        if recognizer.config.family == 'attention':
            warn_of_runaways([Path(key).stem for key in index.keys], result.hypotheses)
        results[name] = dataclasses.replace(result, posteriors=None)  # they may be large
    return results, recognizer.weights


def decode(
    args: argparse.Namespace, options: DecodingOptions, run: 'Run', indexes: 'dict[str, Index]', out_dir: Path
):
    """The evaluation of saved posteriors of each index, all read before the first is decoded, and their weights."""
    from utils.decode.decoder import load_decoder
    from utils.recognition.posteriors import Posteriors, find_weights
    from utils.recognition.report import Evaluation, References

    decoder: Any = load_decoder(options, run.vocabulary.tokens, from_posteriors=True)
    wanted = run.vocabulary.tokens, options.checkpoint, find_weights(run.path, options.checkpoint)
    saved = {name: Posteriors.open(Path(args.posteriors) / name, index, *wanted) for name, index in indexes.items()}
    results = {
        name: Evaluation.score(References.prepare(indexes[name], run.vocabulary), each.decode(decoder), run.vocabulary)
        for name, each in saved.items()
    }
    return results, next(iter(saved.values())).weights


def main(argv: Sequence[str] | None = None) -> int:
    args = parse_args(argv)
    from utils.data.index import read_index
    from utils.decode.decoder import warn_if_empty, warn_of_other_weights
    from utils.pack.archive import require_directory
    from utils.recognition.pages import Pages
    from utils.recognition.report import index_names, report
    from utils.run_directory import Run

    if not args.out:
        require_directory(args.savepath, 'the result', 'give --out DIR')
    run, out_dir = Run.open(args.savepath), Path(args.out or Path(args.savepath) / 'test')
    options = resolve_decoding(args, run.config.model, run.path)
    names = index_names(args.testfiles)
    indexes = {name: read_index([path], verify=True) for name, path in zip(names, args.testfiles, strict=True)}
    pages = Pages.prepare(indexes, run.vocabulary, args.html, args.compare)
    results, weights = (decode if args.posteriors else evaluate)(args, options, run, indexes, out_dir)
    warn_of_other_weights(options, weights)
    if options.lm:
        warn_if_empty([text for result in results.values() for text in result.texts])
    read = {'lm_id': options.lm, 'hotwords_id': options.hotwords}
    identities = {name: lm_id(path) for name, path in read.items() if path and os.path.isfile(path)}
    decoding = {**dataclasses.asdict(options), **identities, 'weights': weights}
    report(results, out_dir, decoding, args.worst)
    pages.write(results, out_dir, run.path, decoding)
    return 0


if __name__ == '__main__':
    sys.exit(run_main(main))
