"""Error rates over a corpus: the edits are summed first, then divided by the length of the references.

Words stand apart by white space. Where a text has no word boundaries (Chinese characters), the whole sentence is one
word and the character errors lead; spaces are no characters there. Elsewhere a space counts as a character of the CER.
"""

import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from rapidfuzz.distance import Levenshtein

HIT, SUBSTITUTION, DELETION, INSERTION = 'hit', 'substitution', 'deletion', 'insertion'
_OPERATIONS = {'equal': HIT, 'replace': SUBSTITUTION, 'delete': DELETION, 'insert': INSERTION}
_SIGNS = {HIT: '', SUBSTITUTION: 'S', DELETION: 'D', INSERTION: 'I'}

AlignedPair = tuple[str, str | None, str | None]


@dataclass(frozen=True)
class ErrorCounts:
    """The edits that turn references into hypotheses; counts of several utterances add up."""

    hits: int = 0
    substitutions: int = 0
    deletions: int = 0
    insertions: int = 0

    @property
    def reference_length(self) -> int:
        return self.hits + self.substitutions + self.deletions

    @property
    def errors(self) -> int:
        return self.substitutions + self.deletions + self.insertions

    @property
    def rate(self) -> float:
        """Errors by reference length, above 1 with many insertions.

        An empty reference counts as if it had one token: 0 without errors, else the number of
        insertions. Infinity would be as true, but spoils means, JSON and figures.
        """
        return self.errors / max(1, self.reference_length)

    def __add__(self, other: 'ErrorCounts') -> 'ErrorCounts':
        return ErrorCounts(
            self.hits + other.hits,
            self.substitutions + other.substitutions,
            self.deletions + other.deletions,
            self.insertions + other.insertions,
        )


@dataclass(frozen=True)
class Scores:
    """What a set of utterances scored; scores of several sets add up.

    Attributes:
      words: errors between words (tokens, for vocabularies of pinyin or phones).
      characters: errors between characters.
      utterances: how many were scored.
      sentence_errors: how many of them have at least one error.
      has_word_boundaries: False where characters lead because the texts have no words.
    """

    words: ErrorCounts = ErrorCounts()
    characters: ErrorCounts = ErrorCounts()
    utterances: int = 0
    sentence_errors: int = 0
    has_word_boundaries: bool = True

    @property
    def leading(self) -> ErrorCounts:
        """The counts by which to judge: characters where there are no words."""
        return self.words if self.has_word_boundaries else self.characters

    @property
    def sentence_error_rate(self) -> float:
        return self.sentence_errors / max(1, self.utterances)

    def __add__(self, other: 'Scores') -> 'Scores':
        if self.has_word_boundaries != other.has_word_boundaries:
            raise ValueError('scores of texts with and without word boundaries do not add up')
        return Scores(
            self.words + other.words,
            self.characters + other.characters,
            self.utterances + other.utterances,
            self.sentence_errors + other.sentence_errors,
            self.has_word_boundaries,
        )


def tokenize(text: str, has_word_boundaries: bool) -> list[str]:
    """The tokens whose errors lead: words, or the characters (without spaces) where there are no words."""
    return text.split() if has_word_boundaries else list(''.join(text.split()))


def count_errors(reference: Sequence[str], hypothesis: Sequence[str]) -> ErrorCounts:
    """Counts the edits of one cheapest alignment of two token sequences (or two strings).

    Where several are as cheap, a substitution may stand for a deletion and an insertion elsewhere;
    the sum of the errors is the same for all.
    """
    substitutions = deletions = insertions = 0
    for tag, _, _ in Levenshtein.editops(reference, hypothesis):
        substitutions += tag == 'replace'
        deletions += tag == 'delete'
        insertions += tag == 'insert'
    return ErrorCounts(len(reference) - substitutions - deletions, substitutions, deletions, insertions)


def word_errors(reference: str, hypothesis: str) -> ErrorCounts:
    """Errors between the words, or other tokens that stand apart by white space, of two texts."""
    return count_errors(reference.split(), hypothesis.split())


def character_errors(reference: str, hypothesis: str) -> ErrorCounts:
    """Errors between the characters of two texts, the single spaces between words among them."""
    return count_errors(' '.join(reference.split()), ' '.join(hypothesis.split()))


def score_utterance(reference: str, hypothesis: str, has_word_boundaries: bool) -> Scores:
    """Scores one utterance."""
    if has_word_boundaries:
        words, characters = word_errors(reference, hypothesis), character_errors(reference, hypothesis)
    else:
        reference, hypothesis = ''.join(reference.split()), ''.join(hypothesis.split())
        # the sentence is the one word; an empty text has none
        words = count_errors([reference] if reference else [], [hypothesis] if hypothesis else [])
        characters = count_errors(reference, hypothesis)
    return Scores(words, characters, 1, int(characters.errors > 0), has_word_boundaries)


def score(references: Iterable[str], hypotheses: Iterable[str], has_word_boundaries: bool = True) -> Scores:
    """Scores a corpus; references and hypotheses stand in the same order.

    Raises:
      ValueError: when there are not as many hypotheses as references.
    """
    total = Scores(has_word_boundaries=has_word_boundaries)
    for reference, hypothesis in zip(references, hypotheses, strict=True):
        total += score_utterance(reference, hypothesis, has_word_boundaries)
    return total


def align(reference: Sequence[str], hypothesis: Sequence[str]) -> list[AlignedPair]:
    """Aligns two token sequences at the least number of edits.

    Returns:
      ``(operation, reference token, hypothesis token)`` in order, with None for the side that an
      insertion or a deletion lacks.
    """
    pairs: list[AlignedPair] = []
    for tag, ref_start, ref_end, hyp_start, hyp_end in Levenshtein.opcodes(reference, hypothesis):
        for offset in range(max(ref_end - ref_start, hyp_end - hyp_start)):
            ref = None if tag == 'insert' else reference[ref_start + offset]
            hyp = None if tag == 'delete' else hypothesis[hyp_start + offset]
            pairs.append((_OPERATIONS[tag], ref, hyp))
    return pairs


def display_width(text: str) -> int:
    """Columns of a terminal that a text takes: two for a wide character, none for a combining one."""
    return sum(
        0 if unicodedata.combining(char) else 2 if unicodedata.east_asian_width(char) in 'WF' else 1 for char in text
    )


def pad(text: str, width: int) -> str:
    """Fills a text with spaces to a width in columns."""
    return text + ' ' * (width - display_width(text))


def format_alignment(pairs: Iterable[AlignedPair], width: int = 110) -> str:
    """Three lines, ``REF:``, ``HYP:`` and ``OP:``, with the tokens of a pair below one another.

    A missing token is shown as asterisks. Longer alignments continue in further blocks of three lines.
    """
    blocks, columns, used = [], [[], [], []], 5
    for operation, ref, hyp in pairs:
        gap = '*' * max(display_width(token) for token in (ref, hyp) if token is not None)
        cells = (gap if ref is None else ref, gap if hyp is None else hyp, _SIGNS[operation])
        cell_width = max(map(display_width, cells))
        if columns[0] and used + cell_width > width:
            blocks.append(columns)
            columns, used = [[], [], []], 5
        for column, cell in zip(columns, cells, strict=True):
            column.append(pad(cell, cell_width))
        used += cell_width + 1
    blocks.append(columns)
    heads = ('REF: ', 'HYP: ', 'OP:  ')
    lines = [
        '\n'.join((head + ' '.join(cells)).rstrip() for head, cells in zip(heads, block, strict=True))
        for block in blocks
    ]
    return '\n\n'.join(lines)
