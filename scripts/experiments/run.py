"""Trains and scores the rows of a table of experiments, with several seeds, and writes the results as Markdown."""

import argparse
import logging
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from utils.cli import Parser, count, natural  # noqa: E402
from utils.errors import UsageError, run_main  # noqa: E402
from utils.system import num_cores  # noqa: E402

log = logging.getLogger(__name__)


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = Parser(
        prog='run.py',
        description='Train and score the rows of a table of experiments; see scripts/experiments/README.md. What is '
        'finished is not run again, what was interrupted resumes. A row that fails does not stop the others. Exit '
        'status: 0: all asked for is finished; 1: some of it is not, and is named.',
    )
    add = parser.add_argument
    add('table', metavar='TABLE.toml', help='table of experiments')
    add('--runs', required=True, metavar='DIR', help='directory of the runs: DIR/ROW/seed-SEED')
    add('--out', metavar='DIR', help='where TABLE.md and TABLE.png are written (default: the directory of --runs)')
    add('--seeds', nargs='+', type=natural, metavar='SEED', help='random seeds (default: those of the table)')
    add('--rows', nargs='+', metavar='ROW', help='rows to run, and those that they start from (default: all)')
    add('--jobs', type=count, default=1, help='trainings that run at once, each pinned to its share of the cores')
    add('--report', action='store_true', help='train and score nothing; write the results that there are')
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    args = parse_args(argv)
    from scripts.experiments.jobs import Runner
    from scripts.experiments.results import Results
    from scripts.experiments.sets import FeatureSets
    from scripts.experiments.status import check_definition
    from scripts.experiments.table import Table
    from utils.recognition.report import index_names

    table, runs_dir, out_dir = Table.read(args.table), Path(args.runs), Path(args.out or args.runs)
    rows, seeds = table.select(args.rows), list(dict.fromkeys(args.seeds or table.file.seeds))
    if args.jobs > num_cores():
        raise UsageError(f'--jobs {args.jobs}: there are {num_cores()} cores; give at most as many')
    table.check_flags(rows)
    for row in rows:
        if changed := check_definition(table, row, runs_dir):
            raise UsageError(changed)
    sets = FeatureSets(table, runs_dir)
    sets.check(rows)

    def write() -> Results:
        results = Results(table, runs_dir, seeds, lambda row: index_names(sets.indexes(row, 'dev')))
        results.write(out_dir, args.jobs)
        return results

    signal.signal(signal.SIGTERM, signal.default_int_handler)  # as Ctrl-C, which a job in the background may ignore
    if not args.report:
        Runner(table, runs_dir, args.jobs).run(rows, seeds, write)
    results = write()
    path = out_dir / f'{table.name}.md'
    print(path.read_text(encoding='utf-8'), end='')
    log.info('results in %s', path)
    return int(bool(({row for row, _ in results.unfinished} | {*results.not_run}) & {row.name for row in rows}))


if __name__ == '__main__':
    sys.exit(run_main(main))
