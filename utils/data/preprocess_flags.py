"""Command line of the preprocessing scripts."""

import argparse
import itertools
import sys
from collections.abc import Callable, Sequence
from typing import Any

from utils.cli import Parser, number, numbers
from utils.data.split import parse_ratio
from utils.system import num_cores

_PREPROCESS_EPILOG = (
    'Features are written to SAVE, one .npz per utterance; files that exist and are current are kept. '
    'The corpus is not changed. Exit status: 0: success; 1: utterances were left out because of faults in the '
    'corpus (each is listed; the index has the others), or nothing could be done; 2: wrong command line.'
)


class PreprocessParser(Parser):
    """Parser of the flags that all preprocessing commands have.

    Args:
      names: allowed values of -n; none: the command has no -n.
      default_name: value of -n if it is left out.
      path_help: help text of the first argument.
      path_name: name of the first argument.
      **kwargs: arguments of `argparse.ArgumentParser`.
    """

    def __init__(
        self, names: Sequence[str], default_name: str, path_help: str, path_name: str = 'path', **kwargs: Any
    ):
        super().__init__(epilog=_PREPROCESS_EPILOG, **kwargs)
        self._names, self._default_name = names, default_name
        add = self.add_argument
        add(
            '-m', '--mode', choices=('mfcc', 'fbank', 'log'), default='fbank',
            help='feature type: mfcc (39: with deltas and delta-deltas), fbank (log mel) or log (log power spectrum)',
        )
        add(
            '-f', '--featlen', type=number(int), choices=(13, 39, 40, 81, 161),
            help='feature dimensions: mfcc 13 or 39; fbank 40; log 81 (up to 4 kHz) or 161 (up to 8 kHz) '
            '(default: 13, 40, 161)',
        )
        add('-wl', '--winlen', type=number(float), default=0.02, help='window length, seconds; at most 0.02 for log')
        add('-ws', '--winstep', type=number(float), default=0.01, help='step between windows, seconds')
        add(
            '-s', '--split', type=_ratio,
            help='split into train:dev:test by speaker with hours in this ratio, e.g. 8:1:1; writes STEM.train.json, '
            'STEM.dev.json and STEM.test.json for a JSONFILE of STEM.json, but not JSONFILE itself (default: no split)',
        )
        if names:
            add(
                '-n', '--name', action='append', type=self._known_names, metavar=f'{{{",".join(names)}}}',
                help=f'sub-directories of PATH to read, one or more: -n A B, or -n A,B (default: {default_name})',
            )
        jobs = number(int, 1, 1024)
        add('--jobs', type=jobs, default=num_cores(), help='number of processes; left out, one per core')
        add(path_name, help=path_help)
        add('save', help='directory of the feature files')
        add('jsonfile', help='index to write; an existing one is kept as JSONFILE.bak')

    def parse_args(self, args=None, namespace=None):
        """As in argparse; ``name`` becomes the list of names without repetitions."""
        if not self._names:
            return super().parse_args(args, namespace)
        args = sys.argv[1:] if args is None else args
        parsed = super().parse_args(self._repeat_name_flag(args), namespace)
        given = parsed.name or [[self._default_name]]
        parsed.name = list(dict.fromkeys(name for names in given for name in names))
        return parsed

    def _repeat_name_flag(self, args: Sequence[str]) -> list[str]:
        """Rewrites ``-n A B PATH`` as ``-n A -n B PATH``: nargs='+' would take PATH for a name too."""
        result: list[str] = []
        can_follow = False
        remaining = iter(args)
        for arg in remaining:
            if arg == '--':
                return [*result, arg, *remaining]
            if can_follow and set(arg.split(',')) <= set(self._names):
                result += ['--name', arg]
                continue
            result.append(arg)
            can_follow = arg.startswith('--name=')
            if arg in ('-n', '--name'):
                result += itertools.islice(remaining, 1)
                can_follow = True
        return result

    def _known_names(self, text: str) -> list[str]:
        names = text.split(',')
        for name in names:
            if name not in self._names:
                raise argparse.ArgumentTypeError(f"'{name}' is not one of {', '.join(self._names)}")
        return names


def add_alphabet_flags(parser: Parser, punctuation: str = 'keep') -> None:
    """Declares the flags that `utils.data.alphabet.Alphabet.from_flags` reads, ``--punctuation`` with this default."""
    add = parser.group('alphabet').add_argument
    add(
        '--make_vocab', metavar='FILE',
        help='build the vocabulary from the transcripts and write it to FILE, which -v of run_train.py reads, as one '
        'TOKEN ID per line (default: the English alphabet)',
    )
    add(
        '--min_count', metavar='N', type=number(int, 1),
        help='with --make_vocab: number of times that a character must occur to be in the vocabulary; transcripts with '
        'rarer ones are left out (default: 1)',
    )
    add('-v', '--vocabfile', metavar='FILE', help='use this vocabulary, one TOKEN ID per line')
    add(
        '--unknown', choices=('leave_out', 'keep'), default='leave_out',
        help='transcripts with characters outside the vocabulary: leave them out, or keep them, for a test set, where '
        'they count as errors',
    )
    add(
        '--case', choices=('lower', 'upper', 'keep'), default='lower',
        help='case of the transcripts; I and i keep their dots if the vocabulary has Turkish letters (ı, İ)',
    )
    add(
        '--punctuation', choices=('drop', 'keep'), default=punctuation,
        help="drop: punctuation and symbols become spaces (twenty-one: twenty one), but an apostrophe of any shape "
        "between two letters becomes '",
    )


def add_copy_flags(parser: Parser) -> None:
    """Declares the flags that `utils.data.perturb.Copies.from_flags` reads."""
    add = parser.group('augmented copies of training utterances').add_argument
    add(
        '--speeds', metavar='FACTOR,FACTOR', type=_speeds,
        help='add a copy of each utterance at each of these speeds by resampling, such as 0.9,1.0,1.1, which changes '
        'tempo and pitch; 1.0 alone is the utterance itself (default: 1.0)',
    )
    add(
        '--noise_dir', metavar='DIR',
        help='add noise to each copy, from recordings in any format that is read here; without --speeds each utterance '
        'gets one copy (default: no noise)',
    )
    add(
        '--snr', metavar='LOW:HIGH', type=_range(-30, 100),
        help='power of the utterance over that of the noise, dB, drawn from this range (default: 5:20)',
    )
    add(
        '--gain', metavar='LOW:HIGH', type=_range(-60, 60),
        help='change the level of each copy, dB, drawn from this range, such as -6:6 (default: no change)',
    )
    add('--seed', metavar='N', type=number(int, 0), help='random seed of noises, --snr and --gain (default: 1)')


def _speeds(text: str) -> tuple[float, ...]:
    speeds = numbers(float, 0.5, 2)(text)
    for speed in speeds:
        if round(speed, 3) != speed:
            raise argparse.ArgumentTypeError(f'{speed} has more than three decimals')
    return speeds


def _range(least: float, greatest: float) -> Callable[[str], tuple[float, float]]:
    """Returns an argparse type: LOW:HIGH, or one number for both."""
    limited = number(float, least, greatest)

    def parse(text: str) -> tuple[float, float]:
        low, _, high = text.partition(':')
        ends = limited(low), limited(high if ':' in text else low)
        if ends[0] > ends[1]:
            raise argparse.ArgumentTypeError(f'{text}: the first number must be the lower one')
        return ends

    return parse


def _ratio(text: str) -> tuple[float, ...]:
    try:
        return parse_ratio(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error
