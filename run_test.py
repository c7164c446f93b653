"""Scores a trained model on indexes: word and character error rates, the worst utterances, all hypotheses in files."""

import argparse
import dataclasses
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from utils.cli import Parser, add_options, count, given_options, natural, yes_no
from utils.config import DEVICE_OPTIONS, RunFlags
from utils.decode.options import DecodingOptions
from utils.errors import run_main
from utils.recognition.ensemble_options import JOINED, EnsembleOptions, Team, open_team
from utils.system import import_tensorflow

if TYPE_CHECKING:
    from utils.data.index import Index


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = Parser(
        prog='run_test.py',
        description='Score a trained model: corpus-level WER and CER with substitutions (S), deletions (D) and '
        'insertions (I) for each index, and the worst utterances aligned.',
    )
    parser.add_argument(
        '-s',
        '--savepath',
        required=True,
        nargs='+',
        action='extend',
        metavar='RUN',
        help='run directory, or packed run; several recognise together',
    )
    parser.add_argument('-t', '--testfiles', nargs='+', required=True, metavar='INDEX', help='indexes, one or more')
    parser.add_argument('-b', '--batch_size', type=count, help='utterances at once (default: 16)')
    parser.add_argument(
        '--out', metavar='DIR', help='where each index gets its directory (default: RUN/test; of several: RUN/ensemble)'
    )
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
        nargs='+',
        metavar='DIR',
        help='decode what --save_posteriors wrote below this directory, its --out (RUN/test); one for each run',
    )
    add_options(parser, EnsembleOptions)
    add_options(parser, DecodingOptions)
    add_options(parser, RunFlags, DEVICE_OPTIONS)
    args = parser.parse_args(argv)
    of_model = ['-b'] * bool(args.batch_size) + [f'--{name}' for name in DEVICE_OPTIONS if name in args]
    if args.posteriors and of_model:
        parser.error(f'{of_model[0]} is for the model, which --posteriors does without; leave one of them out')
    args.batch_size = args.batch_size or 16
    return args


def evaluate(args: argparse.Namespace, team: Team, indexes: 'dict[str, Index]', out_dir: Path):
    """The evaluation of each index by name, and the weights; saves the posteriors where the flags ask for them."""
    from utils.decode.decoder import warn_of_runaways

    import_tensorflow()
    from utils.recognition.ensemble import load_team
    from utils.recognition.posteriors import Posteriors

    devices = RunFlags(**given_options(args, RunFlags))
    recognizer, results = load_team(team, args.save_posteriors, devices), {}
    references = {name: recognizer.prepare(index) for name, index in indexes.items()}
    for name, index in indexes.items():
        result = recognizer.evaluate(references[name], args.batch_size, args.save_posteriors)
        if result.posteriors is not None:
            origin = recognizer.vocabulary.tokens, team.path, team.options[0].checkpoint, recognizer.weights
            Posteriors.of(result.posteriors, index, *origin).save(out_dir / name)
        if team.options[0].family == 'attention' and not team.combine:
            warn_of_runaways([Path(key).stem for key in index.keys], result.hypotheses)
        results[name] = dataclasses.replace(result, posteriors=None)  # they may be large
    return results, recognizer.weights


def decode(args: argparse.Namespace, team: Team, indexes: 'dict[str, Index]', out_dir: Path):
    """The evaluation of saved posteriors of each index, all read before the first is decoded, and their weights."""
    from utils.decode.decoder import load_decoder, load_joint_decoder, warn_of_other_weights
    from utils.recognition.posteriors import Posteriors, decode_saved, find_weights
    from utils.recognition.report import Evaluation, References

    vocabulary, (options,) = team.runs[0].vocabulary, team.options
    decoder: Any = (load_joint_decoder if team.combine else load_decoder)(options, vocabulary.tokens, True)
    weights = [find_weights(run.path, options.checkpoint) for run in team.runs]
    saved = {
        name: [
            Posteriors.open(Path(folder) / name, index, vocabulary.tokens, options.checkpoint, each)
            for folder, each in zip(args.posteriors, weights, strict=True)
        ]
        for name, index in indexes.items()
    }
    results = {
        name: Evaluation.score(References.prepare(indexes[name], vocabulary), decode_saved(each, decoder), vocabulary)
        for name, each in saved.items()
    }
    found = JOINED.join(each.weights for each in next(iter(saved.values())))
    warn_of_other_weights(options, found)
    return results, found


def main(argv: Sequence[str] | None = None) -> int:
    args = parse_args(argv)
    from utils.data.index import read_index
    from utils.decode.decoder import warn_if_empty
    from utils.pack.archive import require_directory
    from utils.recognition.pages import Pages
    from utils.recognition.report import index_names, report

    if not args.out:
        require_directory(args.savepath[0], 'the result', 'give --out DIR')
    team = open_team(args)
    out_dir = Path(args.out or Path(args.savepath[0]) / ('ensemble' if team.combine else 'test'))
    names = index_names(args.testfiles)
    indexes = {name: read_index([path], verify=True) for name, path in zip(names, args.testfiles, strict=True)}
    pages = Pages.prepare(indexes, team.runs[0].vocabulary, args.html, args.compare)
    results, weights = (decode if args.posteriors else evaluate)(args, team, indexes, out_dir)
    if team.options[0].lm:
        warn_if_empty([text for result in results.values() for text in result.texts])
    decoding = team.describe(weights)
    report(results, out_dir, decoding, args.worst)
    pages.write(results, out_dir, team.path, decoding)
    return 0


if __name__ == '__main__':
    sys.exit(run_main(main))
