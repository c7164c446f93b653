"""Nested random subsets of indexes, such as 0.3, 0.6 and 2 hours of four corpora."""

import argparse
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from utils.cli import Parser, natural, number  # noqa: E402
from utils.errors import UsageError, run_main  # noqa: E402
from utils.files import BYTE_ORDER_MARK  # noqa: E402


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = Parser(
        prog='subsets.py',
        description='Write random subsets of indexes, in which each index has the same share of the hours as in all. A '
        'smaller subset is a part of every larger one. The features stay where they are.',
    )
    add = parser.add_argument
    hours = number(float, 0.001, 1e6)
    add('output', metavar='DIR', help='directory of the subsets: HOURS.json, such as 0.3.json, and all.json')
    add('indexes', nargs='+', metavar='INDEX', help='indexes to choose from')
    add('--hours', nargs='+', required=True, type=hours, metavar='HOURS', help='hours of each subset')
    add('--seed', type=natural, default=1, help='random seed of the choice')
    return parser.parse_args(argv)


def read_entries(path: str, output: str) -> list[dict]:
    """Lines of an index; the paths of features and recordings are those for an index in another directory.

    Raises:
      DataError: the index is damaged.
    """
    from utils.data.index import index_key, read_index

    read_index([path])
    entries = []
    for line in Path(path).read_bytes().splitlines():
        if not line.removeprefix(BYTE_ORDER_MARK).isspace():
            entry = json.loads(line.removeprefix(BYTE_ORDER_MARK))
            for name in {'key', 'audio'} & entry.keys():
                if entry[name]:
                    entry[name] = index_key(os.path.join(os.path.dirname(path), entry[name]), f'{output}/all.json')
            entries.append(entry)
    return entries


def nested_order(durations: Sequence[Sequence[float]], seed: int) -> list[tuple[int, int]]:
    """Order of which every beginning has the same share of the hours of each index, up to an utterance.

    Args:
      durations: seconds of the utterances of each index.
      seed: random seed of the order within an index.

    Returns:
      (index, row) of each utterance.
    """
    import numpy as np

    places = []
    for index, secs in enumerate(map(np.array, durations)):
        rows = np.random.default_rng([seed, index]).permutation(len(secs))
        ends = np.cumsum(secs[rows]) / secs.sum()
        places += [(end, index, int(row)) for end, row in zip(ends, rows, strict=True)]
    return [(index, row) for _, index, row in sorted(places)]


def main(argv: Sequence[str] | None = None) -> int:
    args = parse_args(argv)
    from utils.data.index import write_index

    entries = [read_entries(path, args.output) for path in args.indexes]
    order = nested_order([[entry['duration'] for entry in each] for each in entries], args.seed)
    chosen = [entries[index][row] for index, row in order]
    total = sum(entry['duration'] for entry in chosen) / 3600
    if max(args.hours) > total:
        raise UsageError(f'--hours {max(args.hours):g}: the indexes have {total:.2f}; all.json holds all of them')
    for hours in [*sorted(set(args.hours)), float('inf')]:
        taken, secs = [], 0.0
        for entry in chosen:
            if secs >= 3600 * hours:
                break
            taken.append(entry)
            secs += entry['duration']
        path = Path(args.output) / f'{"all" if hours == float("inf") else format(hours, "g")}.json'
        write_index(str(path), taken)
        print(f'{path}: {len(taken)} utterances, {secs / 3600:.2f} hours')
    return 0


if __name__ == '__main__':
    sys.exit(run_main(main))
