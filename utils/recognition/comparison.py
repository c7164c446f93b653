"""Comparison of an evaluation with the hypotheses of another run on the same utterances."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np

from utils.data.index import Index
from utils.data.transcripts import references
from utils.data.vocabulary import Vocabulary
from utils.errors import DataError, UsageError
from utils.files import read_json
from utils.metrics import Scores, score_utterance
from utils.recognition.error_analysis import ErrorAnalysis
from utils.recognition.report import JSON_NAME, utterance_names
from utils.significance import Interval, MatchedPairs, difference_interval, error_segments, matched_pairs

SIGNIFICANT = 0.05


@dataclass(frozen=True)
class Comparison:
    """An evaluation and another, on the same utterances; a negative difference means fewer errors here.

    Attributes:
      other: name of the other one, its path.
      texts: texts of the other one, in the order of the index.
      scores: scores of the other one.
      differences: int `[utterances]`, errors here minus errors there.
      interval: 95 % interval of the difference of the leading rates, by the paired bootstrap; None: one utterance.
      test: matched-pairs test of the errors there (first) and here (second).
    """

    other: str
    texts: Sequence[str]
    scores: Scores
    differences: np.ndarray
    interval: Interval | None
    test: MatchedPairs

    @classmethod
    def of(cls, analysis: ErrorAnalysis, texts: Sequence[str], other: str) -> 'Comparison':
        """Scores the other texts and tests the difference."""
        scores, errors, segments = Scores(has_word_boundaries=analysis.result.scores.has_word_boundaries), [], []
        for row, text in enumerate(texts):
            reference, here = analysis.tokens(row)
            each = score_utterance(analysis.result.references[row], text, scores.has_word_boundaries)
            scores += each
            errors.append(each.leading.errors)
            if errors[-1] or analysis.errors[row]:
                segments += error_segments(reference, analysis.split(text), here)
        there = np.array(errors, np.int64)
        interval = difference_interval(analysis.errors, there, analysis.lengths)
        return cls(other, texts, scores, analysis.errors - there, interval, matched_pairs(segments))

    def differing(self, number: int) -> list[int]:
        """Rows of the utterances whose errors differ most, either way, the larger differences first."""
        rows = np.argsort(-np.abs(self.differences), kind='stable')[:number]
        return [int(row) for row in rows if self.differences[row]]

    def difference(self, analysis: ErrorAnalysis) -> str:
        """Both rates and their difference as text."""
        name = 'WER' if self.scores.has_word_boundaries else 'CER'
        here, there = (100 * scores.leading.rate for scores in (analysis.result.scores, self.scores))
        low, high = (100 * end for end in self.interval or (0, 0))
        interval = f' (95 %: {low:+.2f} to {high:+.2f})' if self.interval else ''
        return f'{name} {here:.2f} % here, {there:.2f} % in {self.other}: {here - there:+.2f} points{interval}'

    def verdict(self) -> str:
        """The result of the matched-pairs test as a sentence."""
        if self.test.p >= SIGNIFICANT:
            what = 'The difference is not significant'
        else:
            what = f'This run has significantly {"fewer" if self.test.mean < 0 else "more"} errors'
        p = f'p = {self.test.p:.3f}' if self.test.p >= 0.001 else 'p < 0.001'
        return f'{what} (matched pairs, {p}, {self.test.segments} segments)'


class _Utterance(msgspec.Struct, gc=False):
    utterance: str
    reference: str
    hypothesis: str


class _Hypotheses(msgspec.Struct):
    utterances: list[_Utterance]


def read_others(path: str, indexes: Mapping[str, Index], vocabulary: Vocabulary) -> dict[str, list[str]]:
    """Texts of another run for each index by name, in the order of the index.

    Args:
      path: run directory, ``--out`` directory or ``hypotheses.json`` of the other test.
      indexes: indexes by name.
      vocabulary: vocabulary that spells the references.

    Raises:
      UsageError: an empty path, or one file for several indexes.
      DataError: there are no hypotheses of an index, or they are damaged or of other utterances or transcripts.
    """
    if not path:
        raise UsageError('--compare: an empty path; give a run directory, an --out directory or a hypotheses.json')
    if Path(path).is_file() and len(indexes) > 1:
        raise UsageError(f'--compare {path}: one file for {len(indexes)} indexes; give the directory of the other test')
    return {name: _read(_find(path, name), index, vocabulary) for name, index in indexes.items()}


def _find(path: str, name: str) -> Path:
    places = [Path(path, 'test', name, JSON_NAME), Path(path, name, JSON_NAME), Path(path, JSON_NAME)]
    found = [place for place in [Path(path), *places] if place.is_file()]
    if not found:
        raise DataError(
            f'--compare {path}: no {JSON_NAME} of the index {name} in it ({places[0]} would be one); '
            f'test the other run on the same index first'
        )
    return found[0]


def _read(path: Path, index: Index, vocabulary: Vocabulary) -> list[str]:
    remedy = 'test the other run on the same index again'
    found = read_json(path, _Hypotheses, 'a hypotheses.json of run_test.py', f'name one, or {remedy}').utterances
    of_name = {each.utterance: each for each in found}
    names = utterance_names(index.keys)
    missing = [name for name in names if name not in of_name]
    if missing or len(found) != len(names):
        example = f', such as {missing[0]}' if missing else ''
        raise DataError(
            f'{path}: has {len(found)} utterances and lacks {len(missing)} of the {len(names)} of '
            f'{index.index_paths[0]}{example}; {remedy}'
        )
    for row, (name, reference) in enumerate(zip(names, references(index, vocabulary), strict=True)):
        if of_name[name].reference != reference:
            raise DataError(
                f'{path}: {name} has another transcript than in {index.where(row)}: '
                f'{of_name[name].reference[:60]!r} instead of {reference[:60]!r}; {remedy}'
            )
    return [of_name[name].hypothesis for name in names]
