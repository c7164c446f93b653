"""File formats of transcripts with times: text, JSON, subtitles (SRT, WebVTT), NIST's CTM and Praat's TextGrid."""

import html
import json
import os
import unicodedata
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from utils.errors import UsageError
from utils.files import replacing

if TYPE_CHECKING:
    from utils.decode.hypothesis import Word
    from utils.recognition.transcribe import Transcript

SUFFIXES = {'text': 'txt', 'json': 'json', 'srt': 'srt', 'vtt': 'vtt', 'ctm': 'ctm', 'textgrid': 'TextGrid'}
ONE_A_FILE = ('srt', 'vtt', 'textgrid')  # formats that cannot hold several recordings

# as the style guides of broadcasters have them: two lines of 42 columns, 1 to 7 seconds
LINE_COLUMNS, CUE_LINES = 42, 2
SHORTEST_CUE_MS, LONGEST_CUE_MS = 1000, 7000
PAUSE_MS = 700  # between CTC's peaks, which leave gaps between words of fluent speech, too


class Cue(NamedTuple):
    """A subtitle: the lines that are shown from ``start`` to before ``end``, in milliseconds."""

    start: int
    end: int
    lines: tuple[str, ...]


def render(kind: str, transcript: 'Transcript', separator: str = ' ') -> str:
    """The transcript of one recording as text in a format.

    Args:
      kind: key of `SUFFIXES`.
      transcript: text with words, their times and, for the second tier of a TextGrid, symbols.
      separator: text between two words; empty for Chinese characters.
    """
    if kind == 'text':
        return f'{transcript.text}\n'
    if kind == 'json':
        return json.dumps(transcript.to_json(), ensure_ascii=False, allow_nan=False) + '\n'
    if kind == 'ctm':
        return to_ctm(stem(transcript.file), transcript.words)
    duration_ms = round(1000 * transcript.duration)
    if kind == 'textgrid':
        tiers = {'words': transcript.words} | ({'symbols': transcript.symbols} if transcript.symbols else {})
        return to_textgrid(tiers, duration_ms)
    cues = make_cues(transcript.words, duration_ms, separator)
    return to_srt(cues) if kind == 'srt' else to_vtt(cues)


def stem(path: str) -> str:
    """Name of a file without directory and suffix."""
    return os.path.splitext(os.path.basename(path))[0]


def separate(spans: Sequence[tuple[int, int]], end: int) -> list[tuple[int, int]]:
    """Spans of integers made positive and disjoint, in their order, from 0 to ``end`` where that has room for them.

    Only spans that overlap, are empty or reach beyond ``end`` change: a span ends where the next one starts.
    """
    starts = [max(start, 0) for start, _ in spans]
    found: list[list[int]] = []
    for number, (_, stop) in enumerate(spans):
        start = max(starts[number], found[-1][1] if found else 0)
        following = starts[number + 1] if number + 1 < len(spans) else max(start, end)
        found.append([start, max(start + 1, min(stop, following))])
    limit = max(end, len(spans))
    for span in reversed(found):  # pushes back those beyond the end
        span[1] = min(span[1], limit)
        span[0] = limit = min(span[0], span[1] - 1)
    return [(start, stop) for start, stop in found]


def make_cues(words: Sequence['Word'], duration_ms: int, separator: str = ' ') -> list[Cue]:
    """Subtitles of words: broken at pauses, then at the widest gaps until each fits two lines and 7 seconds.

    A line has at most 42 columns, of which characters of East Asian scripts take two; a word that is longer gets a line
    and a subtitle of its own. A subtitle stays for a second at least, unless the next one or the end comes first.
    """
    times = [(round(1000 * word.start), round(1000 * word.end)) for word in words]
    pending, groups = [(0, len(words))] if words else [], list[tuple[int, int]]()
    while pending:
        first, last = pending.pop()
        cut = _find_cut(words, times, first, last, separator)
        if cut:
            pending += [(cut, last), (first, cut)]
        else:
            groups.append((first, last))
    spans = []
    for first, last in groups:
        start, end = times[first][0], times[last - 1][1]
        spans.append((start, max(end, start + SHORTEST_CUE_MS)))
    texts = [_break_lines([word.word for word in words[first:last]], separator) for first, last in groups]
    return [Cue(*span, lines) for span, lines in zip(separate(spans, duration_ms), texts, strict=True)]


def _find_cut(words: Sequence['Word'], times: list[tuple[int, int]], first: int, last: int, separator: str) -> int:
    """First word of the second of two parts of a group; 0: it is one subtitle."""
    gaps = {i: times[i][0] - times[i - 1][1] for i in range(first + 1, last)}
    if not gaps:
        return 0
    widest = max(gaps, key=lambda i: gaps[i])
    if gaps[widest] >= PAUSE_MS:
        return widest
    texts = [word.word for word in words[first:last]]
    is_brief = times[last - 1][1] - times[first][0] <= LONGEST_CUE_MS
    is_short = sum(map(len, texts)) <= CUE_LINES * LINE_COLUMNS
    if is_brief and is_short and max(map(_columns, _break_lines(texts, separator))) <= LINE_COLUMNS:
        return 0
    middle, quarter = (first + last) / 2, (last - first) / 4
    near = [i for i in gaps if abs(i - middle) <= quarter] or list(gaps)  # parts of similar length read best
    return max(near, key=lambda i: (gaps[i], -abs(i - middle)))


def _columns(text: str) -> int:
    return sum(2 if unicodedata.east_asian_width(each) in 'WF' else 1 for each in text)


def _break_lines(texts: Sequence[str], separator: str) -> tuple[str, ...]:
    """One line where that is wide enough, else two, as equal as possible."""
    whole = separator.join(texts)
    if _columns(whole) <= LINE_COLUMNS or len(texts) == 1:
        return (whole,)
    pairs = ((separator.join(texts[:i]), separator.join(texts[i:])) for i in range(1, len(texts)))
    return min(pairs, key=lambda pair: max(map(_columns, pair)))


def _clock(ms: int, point: str) -> str:
    """Hours, minutes, seconds and milliseconds: ``01:02:03.004``."""
    secs, ms = divmod(ms, 1000)
    return f'{secs // 3600:02}:{secs // 60 % 60:02}:{secs % 60:02}{point}{ms:03}'


def to_srt(cues: Sequence[Cue]) -> str:
    """SubRip subtitles; an empty text without any."""
    blocks = [
        f'{number}\n{_clock(cue.start, ",")} --> {_clock(cue.end, ",")}\n' + '\n'.join(cue.lines)
        for number, cue in enumerate(cues, 1)
    ]
    return ''.join(f'{block}\n\n' for block in blocks)


def to_vtt(cues: Sequence[Cue]) -> str:
    """WebVTT subtitles; ``&``, ``<`` and ``>`` are character references, so that no text has ``-->`` or a tag."""
    blocks = [
        f'{_clock(cue.start, ".")} --> {_clock(cue.end, ".")}\n' + html.escape('\n'.join(cue.lines), quote=False)
        for cue in cues
    ]
    return 'WEBVTT\n' + ''.join(f'\n{block}\n' for block in blocks)


def to_ctm(name: str, words: Sequence['Word']) -> str:
    """CTM of NIST's sclite: recording, channel 1, start and duration in seconds, word, confidence; a word a line.

    White space in the recording's name, which would end the field, becomes ``_``.
    """
    name = '_'.join(name.split()) or '_'
    lines = []
    for word in words:
        start, end = (round(secs, 3) for secs in (word.start, word.end))
        lines.append(f'{name} 1 {start:.3f} {max(end - start, 0):.3f} {word.word} {word.confidence:.4f}\n')
    return ''.join(lines)


def to_textgrid(tiers: Mapping[str, Sequence['Word']], duration_ms: int) -> str:
    """Praat TextGrid with an interval tier for each name; its intervals cover the recording without gaps or overlaps.

    Words that overlap or take no time get a millisecond at least.
    """
    end = max(duration_ms, 1, *map(len, tiers.values()))
    head = f'File type = "ooTextFile"\nObject class = "TextGrid"\n\nxmin = 0\nxmax = {end / 1000:.3f}\n'
    parts = [f'{head}tiers? <exists>\nsize = {len(tiers)}\nitem []:\n']
    for number, (name, words) in enumerate(tiers.items(), 1):
        spans = separate([(round(1000 * word.start), round(1000 * word.end)) for word in words], end)
        intervals, position = list[tuple[int, int, str]](), 0
        for (start, stop), word in zip(spans, words, strict=True):
            intervals += [(position, start, '')] * (start > position) + [(start, stop, word.word)]
            position = stop
        intervals += [(position, end, '')] * (end > position)
        parts.append(f'    item [{number}]:\n        class = "IntervalTier"\n        name = {_quoted(name)}\n')
        parts.append(f'        xmin = 0\n        xmax = {end / 1000:.3f}\n        intervals: size = {len(intervals)}\n')
        for i, (start, stop, text) in enumerate(intervals, 1):
            bounds = f'            xmin = {start / 1000:.3f}\n            xmax = {stop / 1000:.3f}\n'
            parts.append(f'        intervals [{i}]:\n{bounds}            text = {_quoted(text)}\n')
    return ''.join(parts)


def _quoted(text: str) -> str:
    return '"' + text.replace('"', '""') + '"'


class TranscriptWriter:
    """Writes transcripts in a format, to a file for each recording or to stdout.

    Args:
      kind: key of `SUFFIXES`.
      out_dir: directory of the files, made where it is missing; None: stdout.
      files: the recordings; two with the same name get files with numbers: ``a.srt``, ``a-2.srt``.
      shows_names: texts on stdout have the name of their recording before them.

    Raises:
      UsageError: several recordings on stdout in a format that holds one.
    """

    def __init__(self, kind: str, out_dir: str | None, files: Sequence[str], shows_names: bool = False):
        self._kind, self._out_dir, self._shows_names = kind, out_dir, shows_names
        if out_dir is None and kind in ONE_A_FILE and len(files) > 1:
            raise UsageError(f'--format {kind}: {len(files)} recordings do not fit one {kind} file; give --out DIR')
        if out_dir is not None:
            os.makedirs(out_dir, exist_ok=True)
        self._taken = {os.path.realpath(file) for file in files}  # a recording is never replaced

    def write(self, transcript: 'Transcript', separator: str = ' ') -> None:
        """Writes the transcript of one recording."""
        text = render(self._kind, transcript, separator)
        if self._out_dir is None:
            name = f'{transcript.file}\t' if self._shows_names and self._kind == 'text' else ''
            print(name + text, end='', flush=True)
            return
        with replacing(self._path(stem(transcript.file))) as path:
            path.write_bytes(text.encode('utf-8', 'surrogateescape'))

    def _path(self, name: str) -> str:
        path, number = '', 1
        while not path or os.path.realpath(path) in self._taken:
            name_and_number = name if number == 1 else f'{name}-{number}'
            path, number = os.path.join(self._out_dir or '', f'{name_and_number}.{SUFFIXES[self._kind]}'), number + 1
        self._taken.add(os.path.realpath(path))
        return path
