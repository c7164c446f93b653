"""Analysis of an evaluation's errors: rates by group with intervals, confusions, the worst utterances."""

import dataclasses
import functools
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence

import numpy as np

from utils.metrics import ErrorCounts, align, score_utterance, tokenize
from utils.recognition.report import Evaluation
from utils.significance import Interval, rate_interval

Confusion = tuple[str | None, str | None]  # reference and hypothesis; None: inserted, deleted


@dataclasses.dataclass(frozen=True)
class Group:
    """Error rate of some utterances.

    Attributes:
      name: what they have in common.
      utterances: their number.
      counts: sums of their edits.
      interval: 95 % interval of the rate; None where there is one utterance only.
    """

    name: str
    utterances: int
    counts: ErrorCounts
    interval: Interval | None


@dataclasses.dataclass(frozen=True)
class ErrorAnalysis:
    """Errors of each utterance of an evaluation, in tokens of the leading rate (words, or characters without words).

    Attributes:
      result: the evaluation.
      edits: int32 `[utterances, 4]`, hits, substitutions, deletions and insertions between tokens.
      characters: int32 `[utterances, 4]`, the same between characters.
    """

    result: Evaluation
    edits: np.ndarray
    characters: np.ndarray

    @classmethod
    def of(cls, result: Evaluation) -> 'ErrorAnalysis':
        """Counts the edits of each utterance."""
        edits = np.zeros((2, len(result.texts), 4), np.int32)
        for row, pair in enumerate(zip(result.references, result.texts, strict=True)):
            scores = score_utterance(*pair, result.scores.has_word_boundaries)
            edits[:, row] = [dataclasses.astuple(each) for each in (scores.leading, scores.characters)]
        return cls(result, *edits)

    @property
    def unit(self) -> str:
        """Name of the tokens, in the plural."""
        return 'words' if self.result.scores.has_word_boundaries else 'characters'

    @functools.cached_property
    def errors(self) -> np.ndarray:
        """Errors of each utterance, int32 `[utterances]`."""
        return self.edits[:, 1:].sum(1)

    @functools.cached_property
    def lengths(self) -> np.ndarray:
        """Tokens of each reference, int32 `[utterances]`."""
        return self.edits[:, :3].sum(1)

    def split(self, text: str) -> list[str]:
        """Tokens of a text."""
        return tokenize(text, self.result.scores.has_word_boundaries)

    def tokens(self, row: int) -> tuple[list[str], list[str]]:
        """Tokens of an utterance's reference and hypothesis."""
        return self.split(self.result.references[row]), self.split(self.result.texts[row])

    def worst(self, number: int) -> list[int]:
        """Rows of the utterances with the highest error rates, of equal rates those with most errors first."""
        rates = self.errors / np.maximum(1, self.lengths)
        rows = np.lexsort((np.arange(len(rates)), -self.errors, -rates))[:number]
        return [int(row) for row in rows if self.errors[row]]

    def group(self, name: str, rows: Sequence[int] | np.ndarray, of_characters: bool = False) -> Group:
        """Rate of the utterances in `rows`."""
        edits = (self.characters if of_characters else self.edits)[rows]
        counts = ErrorCounts(*map(int, edits.sum(0)))
        return Group(name, len(edits), counts, rate_interval(edits[:, 1:].sum(1), edits[:, :3].sum(1)))

    def by_speaker(self, speakers: Sequence[str], number: int) -> list[Group]:
        """Rates of the speakers with the highest, the highest first; empty where no speaker is known."""
        rows = defaultdict(list)
        for row, speaker in enumerate(speakers):
            rows[speaker].append(row)
        if not any(rows):
            return []
        rates = {name: self.errors[each].sum() / max(1, self.lengths[each].sum()) for name, each in rows.items()}
        highest = sorted(rates, key=lambda name: (-rates[name], name))[:number]
        return [self.group(name or 'unknown', rows[name]) for name in highest]

    def by_value(self, values: np.ndarray, num_bins: int = 8) -> list[tuple[float, float, Group]]:
        """Rates of groups of about equal size by a value of each utterance: lowest and highest value, and the group.

        Equal values stay together, so that there may be fewer groups.
        """
        order = np.sort(values)
        edges = np.unique(order[np.linspace(0, len(order), num_bins + 1)[1:-1].astype(int)]) if len(order) else order
        places = np.searchsorted(edges, values, side='right')
        bins = []
        for place in np.unique(places):
            rows = np.flatnonzero(places == place)
            bins.append((float(values[rows].min()), float(values[rows].max()), self.group('', rows)))
        return bins

    def confusions(self, of_characters: bool) -> Counter[Confusion]:
        """Counts of the substitutions, deletions and insertions of tokens, or of characters, spaces among them."""
        edits = self.characters if of_characters else self.edits
        counts: Counter[Confusion] = Counter()
        for row in np.flatnonzero(edits[:, 1:].any(1)).tolist():
            counts.update(_edits(*(self._texts(row) if of_characters else self.tokens(row))))
        return counts

    def _texts(self, row: int) -> tuple[str, str]:
        """An utterance's texts as the character error rate compares them."""
        space = ' ' if self.result.scores.has_word_boundaries else ''
        reference, text = self.result.references[row], self.result.texts[row]
        return space.join(reference.split()), space.join(text.split())


def _edits(reference: Sequence[str], hypothesis: Sequence[str]) -> Iterable[Confusion]:
    return ((ref, hyp) for _, ref, hyp in align(reference, hypothesis) if ref != hyp)
