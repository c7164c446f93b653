"""The page of a test, ``report.html``: one file without scripts or network, to read in a browser.

All text of transcripts, indexes and file names passes through `_text`; the page's Content Security Policy forbids
scripts besides. Its size is bounded by the limits below, whatever the size of the test set.
"""

import html
import os
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import astuple, dataclass
from pathlib import Path
from string import Template
from typing import Any
from urllib.parse import quote

import numpy as np

from utils.data.index import Index
from utils.data.sources import Source
from utils.errors import CONTROL
from utils.files import write_text
from utils.metrics import align
from utils.recognition.comparison import Comparison
from utils.recognition.error_analysis import Confusion, ErrorAnalysis, Group
from utils.recognition.report import utterance_names
from utils.recognition.report_charts import axis_limit, rate_chart, rate_row
from utils.significance import REPLICATES, SEED, Interval

PAGE_NAME = 'report.html'
TEMPLATE = Path(__file__).with_suffix('.html')

NUM_WORST, NUM_DIFFERING, NUM_SPEAKERS, NUM_CONFUSIONS = 50, 30, 200, 15
_NUM_PAIRS, _NUM_CHARACTERS = 200, 60  # of an alignment, of a token or name

_SIGNS = {(True, True): 'S', (True, False): 'D', (False, True): 'I'}  # by the presence of reference and hypothesis
_KINDS = {'S': 'substitution', 'D': 'deletion', 'I': 'insertion'}
_KEY = (
    '<div class="key">Above: reference. Below, where it differs: recognised.'
    '<span class="S">S substitution</span><span class="D">D deletion</span><span class="I">I insertion</span></div>'
)
_METHOD = (
    'Difference: matched pairs sentence segment word error test (Gillick and Cox 1989), two-sided, on segments that '
    'end where both runs have two words in a row right, as in NIST’s sc_stats; its normal approximation is good from '
    'about 50 segments. The interval of the difference is that of a paired bootstrap.'
)


@dataclass(frozen=True)
class ScoredIndex:
    """A tested index, with all that its page shows.

    Attributes:
      name: name of the index.
      index: its utterances.
      sources: speaker and recording of each.
      analysis: errors of each.
      comparison: comparison with another run; None: none was asked for.
    """

    name: str
    index: Index
    sources: Sequence[Source]
    analysis: ErrorAnalysis
    comparison: Comparison | None = None


def write_pages(tests: Sequence[ScoredIndex], out_dir: Path, run_dir: str, decoding: Mapping[str, Any]) -> list[Path]:
    """Writes ``report.html`` beside the hypotheses of each index, and returns the paths.

    Args:
      tests: the indexes of one test, which each page lists.
      out_dir: directory that has a directory for each index.
      run_dir: the run, for the heading.
      decoding: decoding options and weights, for the foot of the page.
    """
    groups = [each.analysis.group(each.name, np.arange(len(each.index))) for each in tests]
    how = ', '.join(f'{key} {value}' for key, value in decoding.items() if value not in (None, ''))
    template, paths = Template(TEMPLATE.read_text(encoding='utf-8')), []
    for test, group in zip(tests, groups, strict=True):
        path = out_dir / test.name / PAGE_NAME
        others = [(other, f'../{quote(other.name)}/{PAGE_NAME}') for other in groups] if len(groups) > 1 else []
        sections = [
            *([_indexes(others, group)] if others else []),
            _compared(test),
            _speakers(test, group),
            _by_length(test, group),
            _confused(test.analysis),
            _worst(test, path.parent),
            _differing(test, path.parent),
        ]
        page = template.substitute(
            title=_text(f'{test.name}: {_rate_name(test.analysis)} {_percent(group.counts.rate)}'),
            run=_text(run_dir, 500),
            name=_text(test.name, 500),
            figures=_figures(test, group),
            sections='\n'.join(filter(None, sections)),
            decoding=_text(f'Decoding: {how}.', 2000),
            replicates=f'{REPLICATES:,}',
            seed=SEED,
            method=_METHOD if test.comparison else '',
        )
        write_text(path, page)
        paths.append(path)
    return paths


def _text(text: str, limit: int = _NUM_CHARACTERS) -> str:
    """Text for the page: shortened, control characters and lone surrogates made visible, HTML escaped."""
    text = text if len(text) <= limit else f'{text[:limit]}…'
    return html.escape(CONTROL.sub(lambda found: f'\\x{ord(found[0]):02x}', text))


def _count(number: int, noun: str) -> str:
    return f'{number:,} {noun}{"" if number == 1 else "s"}'


def _percent(rate: float) -> str:
    return f'{100 * rate:.2f} %'


def _range(interval: Interval | None) -> str:
    return f'{100 * interval[0]:.1f} – {100 * interval[1]:.1f}' if interval else '–'


def _rate_name(analysis: ErrorAnalysis) -> str:
    return 'WER' if analysis.result.scores.has_word_boundaries else 'CER'


def _figures(test: ScoredIndex, group: Group) -> str:
    analysis, scores, hours = test.analysis, test.analysis.result.scores, float(test.index.durations.sum()) / 3600
    duration = f'{hours:.2f} hours' if hours >= 1 else f'{60 * hours:.1f} minutes'
    rates = [(_rate_name(analysis), group)]
    if scores.has_word_boundaries:
        rates.append(('CER', analysis.group('', np.arange(len(test.index)), of_characters=True)))
    figures = [
        (name, _percent(each.counts.rate), f'95 %: {_range(each.interval)}', _edits(each)) for name, each in rates
    ]
    wrong = f'{scores.sentence_errors:,} of {scores.utterances:,}'
    figures.append(('sentences with errors', _percent(scores.sentence_error_rate), wrong, ''))
    speakers = len({source.speaker for source in test.sources} - {''})
    figures.append(('utterances', f'{scores.utterances:,}', duration, _count(speakers, 'speaker') if speakers else ''))
    return '\n'.join(
        f'<div><dt>{name}</dt><dd>{value}</dd>'
        + ''.join(f'<dd class="detail">{detail}</dd>' for detail in details if detail)
        + '</div>'
        for name, value, *details in figures
    )


def _edits(group: Group) -> str:
    counts = group.counts
    return f'{counts.substitutions:,} S, {counts.deletions:,} D, {counts.insertions:,} I'


def _section(title: str, *parts: str) -> str:
    return f'<section>\n<h2>{title}</h2>\n' + '\n'.join(parts) + '\n</section>'


def _note(text: str) -> str:
    return f'<p class="note">{text}</p>'


def _rates(rows: Sequence[tuple[str, Group]], overall: Group, heading: str, unit: str, rate_name: str) -> str:
    """A table of rates: a cell of HTML and the group of each row."""
    limit = axis_limit([group for _, group in rows])
    head = (
        f'<tr><th>{heading}</th><th class="n spare">utterances</th><th class="n spare">{unit}</th>'
        f'<th class="n">{rate_name} %</th><th class="n">95 %</th><th class="plot"></th>'
        '<th class="n spare">S</th><th class="n spare">D</th><th class="n spare">I</th></tr>'
    )
    lines = []
    for name, group in rows:
        counts = group.counts
        sizes, edits = (group.utterances, counts.reference_length), astuple(counts)[1:]
        lines.append(
            f'<tr><td>{name}</td>{_spare(sizes)}<td class="n">{100 * counts.rate:.2f}</td>'
            f'<td class="n">{_range(group.interval)}</td>'
            f'<td class="plot">{rate_row(group, limit, overall.counts.rate)}</td>'
            f'{_spare(edits)}</tr>'
        )
    return '<div class="wide"><table>\n' + '\n'.join([head, *lines]) + '\n</table></div>'


def _spare(numbers: Iterable[int]) -> str:
    """Cells that a narrow screen does without."""
    return ''.join(f'<td class="n spare">{number:,}</td>' for number in numbers)


def _indexes(groups: Sequence[tuple[Group, str]], own: Group) -> str:
    rows = [
        (_text(group.name) if group is own else f'<a href="{html.escape(link)}">{_text(group.name)}</a>', group)
        for group, link in groups
    ]
    return _section('Indexes', _rates(rows, own, 'index', 'tokens', 'error rate'))


def _speakers(test: ScoredIndex, overall: Group) -> str:
    groups = test.analysis.by_speaker([source.speaker for source in test.sources], NUM_SPEAKERS)
    if not groups:
        return ''
    total = len({source.speaker for source in test.sources})
    left_out = f' The {NUM_SPEAKERS} speakers of {total:,} with the highest rates.' if total > len(groups) else ''
    return _section(
        'Speakers',
        _note(f'Dot: error rate; bar: its 95 % interval; dashes: rate of all utterances.{left_out}'),
        _rates(
            [(_text(each.name), each) for each in groups],
            overall, 'speaker', test.analysis.unit, _rate_name(test.analysis),
        ),
    )  # fmt: skip


def _by_length(test: ScoredIndex, overall: Group) -> str:
    analysis, unit = test.analysis, test.analysis.unit
    lengths = analysis.lengths
    if not lengths.any():
        return ''
    rates = lengths / np.maximum(test.index.durations, 1e-3)
    charts: list[tuple[str, str, np.ndarray, Callable[[float], str]]] = [
        ('Length', f'{unit} in the reference', lengths, lambda value: f'{value:.0f}'),
        ('Speaking rate', f'{unit} of the reference a second', rates, lambda value: f'{value:.1f}'),
    ]
    drawn = []
    for title, axis, values, number in charts:
        bins = [(_bounds(number(low), number(high)), group) for low, high, group in analysis.by_value(values)]
        name = f'{_rate_name(analysis)} by {title.lower()}'
        drawn.append(f'<div><h3>{title}</h3>{rate_chart(bins, overall.counts.rate, name, axis)}</div>')
    note = 'Groups of about equal size; below each, its limits and its number of utterances.'
    return _section('Length and speaking rate', _note(note), f'<div class="columns charts">{"".join(drawn)}</div>')


def _bounds(low: str, high: str) -> str:
    return low if low == high else f'{low}–{high}'


def _confused(analysis: ErrorAnalysis) -> str:
    """Tables of the most frequent confusions, of words (where texts have words) and of characters."""
    kinds = [(True, 'characters')]
    if analysis.result.scores.has_word_boundaries:
        kinds.insert(0, (False, 'words'))
    parts = []
    for of_characters, unit in kinds:
        counts = analysis.confusions(of_characters)
        if counts:
            tables = [_confusion_table(counts, sign, f'{unit} {name}') for sign, name in _CONFUSED.items()]
            parts.append(f'<div class="columns">{"".join(tables)}</div>')
    return _section('Confusions', *parts) if parts else ''


_CONFUSED = {'S': 'substituted', 'D': 'deleted', 'I': 'inserted'}


def _confusion_table(counts: Counter[Confusion], sign: str, title: str) -> str:
    of_kind = [(count, pair) for pair, count in counts.items() if _sign(*pair) == sign]
    most = sorted(of_kind, key=lambda each: (-each[0], each[1][0] or '', each[1][1] or ''))[:NUM_CONFUSIONS]
    rows = []
    for count, pair in most:
        tokens = ' → '.join(_token(token) for token in pair if token is not None)
        rows.append(f'<tr><td>{tokens}</td><td class="n">{count:,}</td></tr>')
    total, rest = sum(count for count, _ in of_kind), len(of_kind) - len(most)
    more = _note(f'and {_count(rest, "other")}') if rest else ''
    return f'<div><h3>{title.capitalize()}: {total:,}</h3><table>{"".join(rows)}</table>{more}</div>'


def _token(token: str) -> str:
    return '␣' if token == ' ' else f'<bdi>{_text(token)}</bdi>'


def _sign(reference: str | None, hypothesis: str | None) -> str:
    """S, D or I; empty for a hit."""
    return '' if reference == hypothesis else _SIGNS[reference is not None, hypothesis is not None]


def _aligned(reference: Sequence[str], hypothesis: Sequence[str]) -> str:
    """An alignment as columns: the reference above, below it the recognised token where it differs."""
    pairs = align(reference, hypothesis)
    cells = []
    for _, ref, hyp in pairs[:_NUM_PAIRS]:
        sign = _sign(ref, hyp)
        above = f'<span>{_text(ref or "")}</span>'
        if sign:
            below = f'<span><b>{sign}</b>{_text(hyp or "")}</span>'
            cells.append(f'<span class="pair {sign}" title="{_KINDS[sign]}">{above}{below}</span>')
        else:
            cells.append(f'<span class="pair">{above}</span>')
    if len(pairs) > _NUM_PAIRS:
        cells.append(f'<span class="pair quiet"><span>… {len(pairs) - _NUM_PAIRS:,} more</span></span>')
    return f'<div class="pairs" dir="auto">{"".join(cells)}</div>'


def _player(source: Source, page_dir: Path) -> str:
    """An audio element with a link relative to the page, for the segment; empty where the recording is not there."""
    if not source.audio_path or not os.path.isfile(source.audio_path):
        return ''
    link = quote(os.path.relpath(source.audio_path, page_dir))
    if source.start_secs or source.end_secs is not None:
        link += f'#t={source.start_secs:g}' + (f',{source.end_secs:g}' if source.end_secs is not None else '')
    return f'<audio controls preload="none" src="{html.escape(link)}"></audio>'


def _utterance(test: ScoredIndex, row: int, name: str, page_dir: Path, detail: str, parts: Iterable[str]) -> str:
    heading = f'<h3>{_text(name, 200)}<span>{detail}</span></h3>'
    return f'<div class="utterance">{heading}{"".join(parts)}{_player(test.sources[row], page_dir)}</div>'


def _worst(test: ScoredIndex, page_dir: Path) -> str:
    analysis, names = test.analysis, utterance_names(test.index.keys)
    rows = analysis.worst(NUM_WORST)
    if not rows:
        return ''
    shown = []
    for row in rows:
        errors, length = int(analysis.errors[row]), int(analysis.lengths[row])
        rate = 100 * errors / max(1, length)
        detail = f'{_count(errors, "error")} in {_count(length, analysis.unit[:-1])} ({rate:.0f} %)'
        shown.append(_utterance(test, row, names[row], page_dir, detail, [_aligned(*analysis.tokens(row))]))
    wrong = int(np.count_nonzero(analysis.errors))
    count = f'{len(rows):,} of {_count(wrong, "utterance")} with errors, by error rate.'
    return _section('Worst utterances', _note(f'{count} {_sound(test, rows)}'), _KEY, *shown)


def _sound(test: ScoredIndex, rows: Sequence[int]) -> str:
    """A remark on recordings that have no player."""
    paths = [test.sources[row].audio_path for row in rows]
    if not all(paths):
        return 'The index does not name all recordings; preprocessing again adds them, and players here.'
    missing = sum(not os.path.isfile(path) for path in paths)
    return f'{_count(missing, "recording")} missing where the index has them: no player.' if missing else ''


def _compared(test: ScoredIndex) -> str:
    comparison = test.comparison
    if comparison is None:
        return ''
    fewer, more = int((comparison.differences < 0).sum()), int((comparison.differences > 0).sum())
    return _section(
        'Comparison',
        f'<p class="verdict">{comparison.verdict()}.</p>',
        f'<p>{_text(comparison.difference(test.analysis), 500)}. {fewer:,} of '
        f'{_count(len(test.index), "utterance")} have fewer errors here, {more:,} more.</p>',
    )


def _differing(test: ScoredIndex, page_dir: Path) -> str:
    comparison, analysis, names = test.comparison, test.analysis, utterance_names(test.index.keys)
    rows = comparison.differing(NUM_DIFFERING) if comparison else []
    if not comparison or not rows:
        return ''
    shown = []
    for row in rows:
        difference, (reference, text) = int(comparison.differences[row]), analysis.tokens(row)
        detail = f'{_count(abs(difference), "fewer error" if difference < 0 else "more error")} here'
        parts = [
            '<div class="whose">this run</div>',
            _aligned(reference, text),
            '<div class="whose">the other</div>',
            _aligned(reference, analysis.split(comparison.texts[row])),
        ]
        shown.append(_utterance(test, row, names[row], page_dir, detail, parts))
    total = int(np.count_nonzero(comparison.differences))
    note = f'{len(rows):,} of {_count(total, "utterance")} with more or fewer errors, the largest differences first.'
    return _section('Where the runs differ', _note(note), _KEY, *shown)
