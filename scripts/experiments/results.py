"""Results of the rows of a table: medians over seeds, bootstrap intervals of differences, Markdown and a figure."""

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np

from scripts.experiments.status import NEW, TRAINED, Place, Status, check_definition
from scripts.experiments.table import Row, Table
from utils.errors import DataError
from utils.files import read_json, write_text
from utils.metrics import ErrorCounts
from utils.plots import draw_rates, draw_rates_over
from utils.significance import REPLICATES, SEED, Interval

RATES, ESCAPED = ('WER', 'CER'), r'\|'
_BLOCK = 200  # bootstrap samples drawn at once


class _Utterance(msgspec.Struct):
    utterance: str
    words: ErrorCounts
    characters: ErrorCounts


class _Scores(msgspec.Struct):
    leading: str


class _Hypotheses(msgspec.Struct):
    scores: _Scores
    utterances: list[_Utterance]


@dataclass(frozen=True)
class Outcome:
    """Errors of one run on one index.

    Attributes:
      names: names of the utterances.
      errors: int `[utterances, 2]`, errors of words and characters.
      lengths: int `[utterances, 2]`, lengths of the references in words and characters.
      leading: index of the leading rate in the last axis: 0 for texts with words, otherwise 1.
    """

    names: tuple[str, ...]
    errors: np.ndarray
    lengths: np.ndarray
    leading: int

    @classmethod
    def read(cls, path: Path) -> 'Outcome':
        """Reads the hypotheses.json of run_test.py; a `DataError` for a damaged one."""
        remedy = 'remove "tested" from status.json to test again'
        found = read_json(path, _Hypotheses, 'hypotheses of run_test.py', remedy)
        names = tuple(each.utterance for each in found.utterances)
        counts = [(each.words, each.characters) for each in found.utterances]
        errors = np.array([[each.errors for each in both] for both in counts], np.int64)
        lengths = np.array([[each.reference_length for each in both] for both in counts], np.int64)
        return cls(names, errors, lengths, int(found.scores.leading == 'cer'))

    def rate(self, which: int) -> float:
        """Error rate of words (0) or characters (1), in percent."""
        return 100 * float(self.errors[:, which].sum() / max(1, self.lengths[:, which].sum()))


@dataclass(frozen=True)
class Section:
    """Outcomes of the rows on one index with one decoding: a list of them for each row, one for each seed."""

    index: str
    decoding: str
    outcomes: Mapping[str, Sequence[Outcome]]

    @property
    def title(self) -> str:
        return f'{self.index}, {self.decoding}'

    @property
    def leading(self) -> int:
        return next(iter(self.outcomes.values()))[0].leading

    def rates(self, row: str, which: int) -> list[float]:
        return [outcome.rate(which) for outcome in self.outcomes[row]]


def difference(row: Sequence[Outcome], base: Sequence[Outcome]) -> tuple[float, Interval | None] | None:
    """Leading error rate of a row minus that of another, means over seeds in percent, with its 95 % interval.

    The interval is a percentile bootstrap over utterances, the same for both rows, and over the seeds of each row. With
    few seeds it is too narrow.

    Returns:
      None where the rows have other utterances; the interval is None for fewer than two utterances.
    """
    which, lengths = row[0].leading, row[0].lengths[:, row[0].leading]
    if len({outcome.names for outcome in (*row, *base)}) > 1:
        return None
    errors = [np.stack([outcome.errors[:, which] for outcome in outcomes]) for outcomes in (row, base)]
    means = [100 * each.sum() / len(each) / max(1, lengths.sum()) for each in errors]
    number = len(lengths)
    if number < 2:
        return means[0] - means[1], None
    rng, values = np.random.default_rng(SEED), []
    for _ in range(0, REPLICATES, _BLOCK):
        counts = rng.multinomial(number, np.full(number, 1 / number), _BLOCK)
        rates = [_resampled(each @ counts.T, rng) / np.maximum(1, counts @ lengths) for each in errors]
        values.append(100 * (rates[0] - rates[1]))
    low, high = np.quantile(np.concatenate(values), [0.025, 0.975])
    return means[0] - means[1], (float(low), float(high))


def _resampled(sums: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Means over a bootstrap sample of the seeds in each column of `[seeds, samples]`."""
    seeds = len(sums)
    weights = rng.multinomial(seeds, np.full(seeds, 1 / seeds), sums.shape[1])
    return (weights.T * sums).sum(0) / seeds


class Results:
    """The finished runs of a table, and what is not finished."""

    def __init__(
        self, table: Table, runs_dir: Path, seeds: Sequence[int], index_names: Callable[[Row], Sequence[str]]
    ):
        """Reads the status and the hypotheses of all rows; `index_names` gives the names of a row's dev indexes."""
        self._table, self._runs_dir = table, runs_dir
        self.statuses: dict[str, list[Status]] = {}
        self.unfinished: list[tuple[str, str]] = []  # row, and what is missing
        self.not_run: dict[str, list[int]] = {}  # seeds by row
        sections: dict[tuple[str, str], dict[str, list[Outcome]]] = {}
        for row in table.file.rows:
            if changed := check_definition(table, row, runs_dir):
                self.unfinished.append((row.name, changed))
                continue
            for seed in seeds:
                place = Place(runs_dir, row.name, seed)
                try:
                    for decoding, index in self._finished(row, place, index_names):
                        outcome = Outcome.read(place.hypotheses(decoding, index))
                        sections.setdefault((decoding, index), {}).setdefault(row.name, []).append(outcome)
                except (DataError, OSError) as error:
                    self.unfinished.append((row.name, f'{place}: {error}'))
        order = [each.name for each in table.file.decodings]
        found = sorted(sections.items(), key=lambda item: order.index(item[0][0]))
        self.sections = [Section(index, decoding, rows) for (decoding, index), rows in found]

    def _finished(self, row: Row, place: Place, index_names) -> list[tuple[str, str]]:
        """(decoding, index) of what has been scored; notes the rest as unfinished."""
        status = place.read()
        if status.state == TRAINED:
            self.statuses.setdefault(row.name, []).append(status)
        elif status.state == NEW:
            self.not_run.setdefault(row.name, []).append(place.seed)
            return []
        else:
            self.unfinished.append((row.name, ': '.join(filter(None, [str(place), status.state, status.reason]))))
            return []
        decodings, definition = self._table.decodings(row), self._table.decoding_definition
        done = [each for each in decodings if status.tested.get(each.name) == definition(row, each)]
        missing = [each.name for each in decodings if each not in done]
        if missing:
            parts = [str(place), f'not decoded: {", ".join(missing)}', status.reason]
            self.unfinished.append((row.name, ': '.join(filter(None, parts))))
        return [(each.name, index) for each in done for index in index_names(row)]

    def markdown(self, num_jobs: int) -> str:
        """The tables of all sections, what is not finished, and where the figures come from."""
        parts = [f'# {self._table.file.title or self._table.name}']
        parts += [f'## {section.title}\n\n{self._format(section)}' for section in self.sections]
        missing = [text for _, text in self.unfinished]
        if self.not_run:
            seeds = (f'{row} seed {" ".join(map(str, numbers))}' for row, numbers in self.not_run.items())
            missing.append(f'not run: {", ".join(seeds)}')
        if missing:
            parts.append('Not finished:\n\n' + '\n'.join(f'- {text}' for text in missing))
        parts.append(self._origin(num_jobs))
        return '\n\n'.join(parts) + '\n'

    def _format(self, section: Section) -> str:
        table, base = self._table, self._table.base.name
        which, rows = section.leading, [row for row in table.file.rows if row.name in section.outcomes]
        columns: list[tuple[str, Callable[[Row], str]]] = [('row', lambda row: row.name), ('change', change)]
        if table.is_curve:
            columns.append((table.file.x_label, lambda row: f'{row.x:g}'))
        columns += [
            ('seeds', lambda row: str(len(section.outcomes[row.name]))),
            (f'{RATES[which]} %', lambda row: spread(section.rates(row.name, which))),
            (f'difference to {base} (95 %)', lambda row: self._difference(section, row.name)),
        ]
        if not which:
            columns.append(('CER %', lambda row: spread(section.rates(row.name, 1))))
        columns.append(('minutes', self._minutes))
        if any(row.paper for row in rows):
            columns.append(('paper', lambda row: row.paper))
        lines = [[title for title, _ in columns], ['---'] * len(columns)]
        lines += [[cell(row) for _, cell in columns] for row in rows]
        return '\n'.join(f'| {" | ".join(cell.replace("|", ESCAPED) for cell in line)} |' for line in lines)

    def _minutes(self, row: Row) -> str:
        return f'{statistics.median(status.seconds for status in self.statuses[row.name]) / 60:.1f}'

    def _difference(self, section: Section, name: str) -> str:
        base = self._table.base.name
        if name == base or base not in section.outcomes:
            return ''
        found = difference(section.outcomes[name], section.outcomes[base])
        if not found:
            return 'other utterances'
        interval = f' ({found[1][0]:+.2f} to {found[1][1]:+.2f})' if found[1] else ''
        return f'{found[0]:+.2f}{interval}'

    def _origin(self, num_jobs: int) -> str:
        statuses = [each for group in self.statuses.values() for each in group]
        values = [{getattr(each, name) for each in statuses} - {''} for name in ('machine', 'commit', 'versions')]
        machines, commits, versions = ('; '.join(sorted(each)) for each in values)
        minutes = f'{self._table.file.minutes:g} minutes at most a training, {num_jobs} at once'
        parts = [machines, f'commit {commits}' * bool(commits), versions, minutes, time.strftime('%d %B %Y')]
        return '. '.join(filter(None, parts)) + '.'

    def draw(self, path: Path) -> bool:
        """Draws the leading rates of all sections; returns whether there are any."""
        if not self.sections:
            return False
        name = RATES[self.sections[0].leading]
        if self._table.is_curve:
            places = {row.name: float(row.x or 0) for row in self._table.file.rows}
            curves = {
                section.title: {places[row]: section.rates(row, section.leading) for row in section.outcomes}
                for section in self.sections
            }
            draw_rates_over(curves, self._table.file.x_label, name, path)
        else:
            panels = {
                section.title: {row: section.rates(row, section.leading) for row in section.outcomes}
                for section in self.sections
            }
            draw_rates(panels, name, path)
        return True

    def write(self, out_dir: Path, num_jobs: int) -> str:
        """Writes TABLE.md, and TABLE.png where a run is finished; returns the Markdown."""
        text = self.markdown(num_jobs)
        figure = out_dir / f'{self._table.name}.png'
        if self.draw(figure):
            text += f'\n![Error rates of the rows: each seed, and their medians]({figure.name})\n'
        write_text(out_dir / f'{self._table.name}.md', text)
        return text


def change(row: Row) -> str:
    """What a row changes, in Markdown."""
    parts = [f'without {" ".join(row.without)}' * bool(row.without), f'`{row.flags}`' if row.flags else '']
    parts += [f'features {row.features}' * bool(row.features), f'`{row.test}`' if row.test else '']
    parts += [f'copy of {row.copy_of}' * bool(row.copy_of), f'from {row.init_from}' * bool(row.init_from), row.note]
    return ', '.join(filter(None, parts))


def spread(rates: Sequence[float]) -> str:
    """Median and, of several, the range."""
    text = f'{statistics.median(rates):.2f}'
    return f'{text} ({min(rates):.2f} to {max(rates):.2f})' if len(rates) > 1 else text
