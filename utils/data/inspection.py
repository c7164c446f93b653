"""Inspection of indexes: amounts, speaking rates, suspicious utterances, and overlap between indexes."""

import collections
import hashlib
import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from tqdm import tqdm

from utils.audio.reader import read_blocks
from utils.data.index import Index, read_index
from utils.data.sources import read_sources
from utils.data.transcripts import UNKNOWN, count_frames_needed
from utils.data.vocabulary import Vocabulary
from utils.errors import DataError, printable

Z_LIMIT = 5.0  # robust z-score from which a speaking rate is an outlier: 0.00006 % of a normal distribution
LEAST_WORDS = 4  # shorter sentences are in two sets by chance
SILENT_SPREAD = 1.0  # nats between quiet and loud frames, 4.3 dB; the least of real speech that was seen is 2.4
_CHUNK = 4096  # feature files read at once
_MAX_TEXT = 60  # characters of a transcript in the report


class Finding(NamedTuple):
    """Suspicious utterances of one kind: what they have in common, their number, and a line for some of them."""

    kind: str
    number: int
    lines: list[str]


@dataclass(frozen=True)
class Inspection:
    """One index with what was measured of each utterance.

    Attributes:
      path: path of the index file.
      index: its utterances.
      speakers: speaker of each utterance, '' where the index names none.
      symbols: int64 `[utterances]`, symbols of each transcript.
      sentences: int64 `[utterances]`, hash of each transcript without regard to case and spaces.
      recordings: int64 `[utterances]`, hash of each utterance's features; empty if the features were not read.
      findings: suspicious utterances, by kind.
      num_damaged: number of feature files that cannot be read.
    """

    path: str
    index: Index
    speakers: list[str]
    symbols: np.ndarray
    sentences: np.ndarray
    recordings: np.ndarray
    findings: list[Finding]
    num_damaged: int = 0

    @property
    def rates(self) -> np.ndarray:
        """Symbols a second, float64 `[utterances]`."""
        return self.symbols / self.index.durations.astype(np.float64)

    @property
    def speaker_secs(self) -> dict[str, float]:
        """Seconds of each speaker that the index names."""
        secs: Counter[str] = Counter()
        for speaker, duration in zip(self.speakers, self.index.durations.tolist(), strict=True):
            if speaker:
                secs[speaker] += duration
        return dict(secs)


class _Measures(NamedTuple):
    """Measures of the features of each utterance, `[utterances]`, and a message for each file that cannot be read."""

    recordings: np.ndarray
    spreads: np.ndarray
    repeats: np.ndarray
    damage: list[str]


def inspect(
    path: str, vocabulary: Vocabulary | None, time_stride: int, reads_features: bool = True, listed: int = 5
) -> Inspection:
    """Reads an index, and the features unless told otherwise.

    Args:
      path: the index file.
      vocabulary: vocabulary whose symbols are counted; None: all characters of the transcripts.
      time_stride: input frames per output frame of the model whose CTC loss the transcripts must fit.
      reads_features: find silence, duplicate recordings and damaged files too.
      listed: number of utterances that each finding lists.

    Raises:
      DataError: the index is broken or lacks files.
    """
    index = read_index([path])
    vocabulary = vocabulary or _vocabulary_of(index.texts)
    symbols = np.fromiter((len(vocabulary.split(text)) for text in index.texts), np.int64, len(index))
    sentences = np.fromiter((hash(_sentence(text)) for text in index.texts), np.int64, len(index))
    speakers = [source.speaker for source in read_sources(index)]
    inspection = Inspection(path, index, speakers, symbols, sentences, np.zeros(0, np.int64), [])
    findings = [
        *_unfit(index, vocabulary, time_stride, listed),
        *_rate_outliers(inspection, listed),
        *_repeated_sentences(inspection, listed),
    ]
    if not reads_features:
        return Inspection(**{**vars(inspection), 'findings': findings})
    measures = _measure(index)
    findings += [*_silent(index, measures, listed), *_repeated_recordings(index, measures.recordings, listed)]
    damage = measures.damage
    findings += [Finding('features that cannot be read', len(damage), damage[:listed])] if damage else []
    return Inspection(
        **{**vars(inspection), 'findings': findings, 'recordings': measures.recordings, 'num_damaged': len(damage)}
    )


def _vocabulary_of(texts: Iterable[str]) -> Vocabulary:
    characters: set[str] = set()
    for text in texts:
        characters.update(text)
    spaces = {each for each in characters if each.isspace()}
    return Vocabulary(sorted(characters - spaces) + [' '], 'the transcripts')


def _sentence(text: str) -> str:
    return ' '.join(text.casefold().split())


def _num_words(text: str) -> int:
    """Words of a transcript; without spaces, as in Chinese, two characters count as one."""
    words = text.split()
    return len(words) if len(words) > 1 else len(text) // 2


def _quoted(text: str) -> str:
    text = printable(' '.join(text.split()))
    return f'"{text if len(text) <= _MAX_TEXT else text[: _MAX_TEXT - 1] + "…"}"'


def _found(kind: str, rows: Sequence[int] | np.ndarray, describe: Callable[[int], str], listed: int) -> list[Finding]:
    """A finding about utterances, the first of them described; none without utterances."""
    return [Finding(kind, len(rows), [describe(int(row)) for row in rows[:listed]])] if len(rows) else []


def _unfit(index: Index, vocabulary: Vocabulary, time_stride: int, listed: int) -> list[Finding]:
    needed, frames = count_frames_needed(index.texts, vocabulary), -(-index.frames // time_stride)
    empty = np.array([not text.strip() for text in index.texts])

    def units(row: int) -> str:
        return f'{_place(index, row)}: {" ".join(map(repr, vocabulary.unknown(index.texts[row])[:5]))}'

    def fit(row: int) -> str:
        text = _quoted(index.texts[row])
        return f'{_place(index, row)}: needs {needed[row]} output frames, has {frames[row]}: {text}'

    unknown, short = np.flatnonzero((needed == UNKNOWN) & ~empty), np.flatnonzero(needed > frames)
    return [
        *_found('empty transcripts', np.flatnonzero(empty), lambda row: _place(index, row), listed),
        *_found(f'transcripts with units outside {vocabulary.name}', unknown, units, listed),
        *_found(f'transcripts that do not fit with a time stride of {time_stride}', short, fit, listed),
    ]


def robust_z(values: np.ndarray) -> np.ndarray:
    """Deviations from the median in units of the standard deviation that the median absolute deviation implies.

    All 0 where more than half of the values are equal.
    """
    if not len(values):
        return np.zeros(0)
    deviations = values - np.median(values)
    scale = 1.4826 * np.median(np.abs(deviations))
    return deviations / scale if scale > 0 else np.zeros(len(values))


def _rate_outliers(inspection: Inspection, listed: int) -> list[Finding]:
    """Utterances whose logarithm of symbols a second is far from the others'."""
    index, rates = inspection.index, inspection.rates
    with_text = np.flatnonzero(rates > 0)
    z = np.zeros(len(index))
    z[with_text] = robust_z(np.log(rates[with_text]))

    def describe(row: int) -> str:
        secs = f'{index.durations[row]:.2f} s'
        return f'{_place(index, row)}: {rates[row]:.3g} symbols a second, {secs}: {_quoted(index.texts[row])}'

    order = np.argsort(-np.abs(z), kind='stable')
    order = order[np.abs(z[order]) > Z_LIMIT]
    return [
        *_found(f'too fast (robust z above {Z_LIMIT:g})', order[z[order] > 0], describe, listed),
        *_found(f'too slow (robust z below -{Z_LIMIT:g})', order[z[order] < 0], describe, listed),
    ]


def _place(index: Index, row: int) -> str:
    return f'line {index.origins[row][1]} ({index.utterance_id(row)})'


def _groups(values: np.ndarray) -> list[np.ndarray]:
    """Rows of each value that occurs more than once, the largest groups first, else in order of appearance."""
    order = np.argsort(values, kind='stable')
    starts = np.flatnonzero(np.diff(values[order], prepend=values[order][:1] - 1) != 0) if len(values) else order
    groups = [group for group in np.split(order, starts[1:]) if len(group) > 1]
    return sorted(groups, key=lambda group: (-len(group), group[0]))


def _repeated_sentences(inspection: Inspection, listed: int) -> list[Finding]:
    groups = _groups(inspection.sentences)
    number = sum(len(group) - 1 for group in groups)
    lines = [f'{len(group)} times {_quoted(inspection.index.texts[group[0]])}' for group in groups[:listed]]
    return [Finding('transcripts that occurred before', number, lines)] if groups else []


def _repeated_recordings(index: Index, recordings: np.ndarray, listed: int) -> list[Finding]:
    groups = _groups(recordings)
    lines = [', '.join(_place(index, row) for row in group[:3]) + ', ...' * (len(group) > 3) for group in groups]
    number = sum(len(group) - 1 for group in groups)
    return [Finding('recordings that occurred before (equal features)', number, lines[:listed])] if groups else []


def _silent(index: Index, measures: _Measures, listed: int) -> list[Finding]:
    rows = np.flatnonzero((measures.spreads < SILENT_SPREAD) | (measures.repeats > 0.5))

    def describe(row: int) -> str:
        decibels, repeated = measures.spreads[row] * 10 / math.log(10), measures.repeats[row]
        return f'{_place(index, row)}: level varies by {decibels:.1f} dB, {repeated:.0%} of the frames repeat the last'

    return _found('silent, or steady noise', rows, describe, listed)


def _measure(index: Index) -> _Measures:
    recordings = np.arange(len(index), dtype=np.int64)  # of files that cannot be read, all different
    spreads, repeats = np.full(len(index), np.inf, np.float32), np.zeros(len(index), np.float32)
    damage = []
    for row, measured in _measure_each(index):
        if isinstance(measured, DataError):
            damage.append(str(measured))
        else:
            recordings[row], spreads[row], repeats[row] = measured
    return _Measures(recordings, spreads, repeats, damage)


def _measure_each(index: Index) -> Iterator[tuple[int, tuple[int, float, float] | DataError]]:
    assert index.spec is not None
    mode, featlen = index.spec.mode, index.spec.featlen

    def measure(row: int) -> tuple[int, float, float] | DataError:
        try:
            features = index.features(row, featlen)
        except DataError as error:
            return error
        levels = features[:, 0] if mode == 'mfcc' else features.mean(1)  # the first coefficient is the log energy
        quiet, loud = np.percentile(levels, (5, 95))
        repeats = float((features[1:] == features[:-1]).all(1).mean()) if len(features) > 1 else 0.0
        digest = hashlib.blake2b(np.ascontiguousarray(features).tobytes(), digest_size=8).digest()
        return int.from_bytes(digest, 'little', signed=True), float(loud - quiet), repeats

    with ThreadPoolExecutor() as pool, tqdm(total=len(index), unit='utt', desc='features', disable=None) as bar:
        for first in range(0, len(index), _CHUNK):  # a million pending tasks would take gigabytes
            rows = range(first, min(first + _CHUNK, len(index)))
            yield from zip(rows, pool.map(measure, rows), strict=True)
            bar.update(len(rows))


def suspicious_recordings(index: Index, listed: int = 5) -> list[Finding]:
    """Reads the recordings that an index names; finds signs of a fault, such as clipping, and unreadable ones.

    Raises:
      DataError: the index names no recordings, as those from before the field do not.
    """
    sources = read_sources(index)
    rows = [row for row, source in enumerate(sources) if source.audio_path]
    if not rows:
        raise DataError(f'{index.index_paths[0]}: names no recordings; preprocess again, or give --read_audio no')

    suspicious, unreadable = [], []
    for row in tqdm(rows, unit='utt', desc='recordings', disable=None):
        suspicions: list[str] = []
        _, path, start_secs, end_secs = sources[row]
        try:
            collections.deque(read_blocks(path, suspicions, start_secs, end_secs), maxlen=0)
        except DataError as error:
            unreadable.append(f'{_place(index, row)}: {error}')
        if suspicions:
            suspicious.append(f'{_place(index, row)}: {", ".join(suspicions)}')
    found = ('suspicious recordings', suspicious), ('recordings that cannot be read', unreadable)
    return [Finding(kind, len(lines), lines[:listed]) for kind, lines in found if lines]


def overlap(one: Inspection, other: Inspection, listed: int = 5) -> list[Finding]:
    """Sentences, speakers and recordings of ``other`` that ``one`` has too."""
    texts, other_index = other.index.texts, other.index
    common = np.flatnonzero(np.isin(other.sentences, one.sentences))
    long = [int(row) for row in common if _num_words(texts[row]) >= LEAST_WORDS]
    examples = list({other.sentences[row]: _quoted(texts[row]) for row in long}.values())
    kind = f'transcripts that are in both, {len(long)} of them with {LEAST_WORDS} words or more'
    findings = [Finding(kind, len(common), examples[:listed])] if len(common) else []
    speakers = sorted((set(one.speakers) & set(other.speakers)) - {''})
    findings += [Finding('speakers that are in both', len(speakers), speakers[:listed])] if speakers else []
    if len(one.recordings) and len(other.recordings):
        rows = np.flatnonzero(np.isin(other.recordings, one.recordings))
        findings += _found(
            'recordings that are in both (equal features)', rows, lambda row: _place(other_index, row), listed
        )
    return findings


def summary(inspection: Inspection) -> list[str]:
    """Lines of the report about one index."""
    index, minutes = inspection.index, [secs / 60 for secs in inspection.speaker_secs.values()]
    hours = index.durations.sum(dtype=np.float64) / 3600
    speakers = 'no speakers named'
    if minutes:
        speakers = f'{len(minutes)} speakers with {min(minutes):.1f} to {max(minutes):.1f} minutes'
    return [
        f'{inspection.path}: {len(index)} utterances, {hours:.3f} hours, {speakers}, {index.spec}',
        f'  seconds           {_quantiles(index.durations)}',
        f'  symbols           {_quantiles(inspection.symbols)}',
        f'  symbols a second  {_quantiles(inspection.rates)}',
        *finding_lines(inspection.findings),
    ]


def _quantiles(values: np.ndarray) -> str:
    names = ('min', '5 %', 'median', '95 %', 'max')
    quantiles = np.percentile(values, (0, 5, 50, 95, 100))
    return '  '.join(f'{name} {value:<6.4g}' for name, value in zip(names, quantiles, strict=True)).rstrip()


def finding_lines(findings: Iterable[Finding]) -> list[str]:
    """Lines of the report about findings: kind and number, then the examples."""
    lines = []
    for kind, number, examples in findings:
        lines += [f'  {kind}: {number}', *(f'    {example}' for example in examples)]
    return lines
