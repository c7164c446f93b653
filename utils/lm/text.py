"""The text of language models: read from text files and indexes, spelled as a vocabulary can, checked for test sets."""

import gzip
import unicodedata
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import msgspec

from utils.data.vocabulary import SPACE
from utils.errors import DataError
from utils.files import decode_json
from utils.lm.arpa import UNKNOWN

APOSTROPHES = str.maketrans({'’': "'", '‘': "'", 'ʼ': "'", '＇': "'"})
INDEX_SUFFIXES = ('.json', '.jsonl')
# shorter transcripts ("yes") are in any text and prove nothing
LEAST_WORDS_TO_TELL = 3


def is_index(path: str) -> bool:
    return path.removesuffix('.gz').endswith(INDEX_SUFFIXES)


def read_sentences(paths: Sequence[str]) -> Iterator[str]:
    """The lines of text files and the transcripts of indexes, gzipped or not.

    Raises:
      DataError: a file is no UTF-8 text, or a line of an index has no transcript.
    """
    for path in paths:
        with open(path, 'rb') as raw:
            is_gzip = raw.read(2) == b'\x1f\x8b'
            raw.seek(0)
            lines = gzip.GzipFile(fileobj=raw) if is_gzip else raw
            try:
                for number, line in enumerate(lines, 1):
                    text = line.decode('utf-8-sig' if number == 1 else 'utf-8')
                    if not is_index(path):
                        yield text
                    elif text.strip():
                        yield _transcript(text, f'{path} line {number}')
            except UnicodeDecodeError as error:
                raise DataError(f'{path} line {number}: not UTF-8 text ({error.reason}); save it as UTF-8') from error
            except (EOFError, gzip.BadGzipFile, zlib.error) as error:
                raise DataError(f'{path}: the gzipped file is damaged or cut off; copy it again') from error


class _Line(msgspec.Struct):
    texts: str


def _transcript(line: str, where: str) -> str:
    remedy = 'give an index, or text with another suffix than .json'
    return decode_json(line, _Line, where, 'an utterance with texts', remedy).texts


def test_indexes(paths: Sequence[str]) -> list[str]:
    """The indexes that lie beside given ones and have "test" in their names."""
    found: dict[Path, None] = {}
    for path in paths:
        if is_index(path):
            for other in sorted(Path(path).parent.glob('*test*')):
                if is_index(str(other)) and other.is_file():
                    found[other] = None
    return [str(path) for path in found]


test_indexes.__test__ = False  # type: ignore[attr-defined]  # pytest would take it for a test


class Overlap:
    """Detects transcripts of test sets in a language model's text, which would make their scores look too good."""

    def __init__(self, paths: Sequence[str], normalizer):
        self._transcripts: dict[tuple[str, ...], set[str]] = {}
        self._found: dict[str, set[tuple[str, ...]]] = {path: set() for path in paths}
        self._totals = dict.fromkeys(paths, 0)
        for path in paths:
            for text in read_sentences([path]):
                words = tuple(normalizer(text))
                if len(text.split()) >= LEAST_WORDS_TO_TELL or len(words) > 3 * LEAST_WORDS_TO_TELL:
                    self._transcripts.setdefault(words, set()).add(path)
        for owners in self._transcripts.values():
            for path in owners:
                self._totals[path] += 1

    def watch(self, sentences: Iterable[list[str]]) -> Iterator[list[str]]:
        """Yields the sentences and notes those that are transcripts of a test set."""
        for words in sentences:
            if self._transcripts:
                key = tuple(words)
                for path in self._transcripts.get(key, ()):
                    self._found[path].add(key)
            yield words

    def warnings(self) -> list[str]:
        """A line for each test set with transcripts in the text."""
        return [
            f'{len(found)} of the {self._totals[path]} different transcripts of {path} (of {LEAST_WORDS_TO_TELL} words '
            'or more) are in the text: its scores with this model will look better than they are; leave them out'
            for path, found in self._found.items()
            if found
        ]


class TextNormalizer:
    """Turns lines of text into the words of a language model.

    A character that the vocabulary lacks is tried in the other case, then without its accent. Punctuation
    becomes a space. A word (in text without spaces: a character) that still can't be spelled becomes `<unk>`.

    Attributes:
      unknown: the words that became `<unk>`, with their numbers of occurrences.
      num_words: number of words in the lines (in text without spaces: of characters).
    """

    def __init__(self, tokens: Sequence[str], unit: str):
        """Makes the normalizer of a vocabulary.

        Args:
          tokens: tokens of the vocabulary.
          unit: unit of one word of the language model: 'char' (a token of the vocabulary) or 'word'.
        """
        self._tokens = frozenset(tokens)
        self._characters = frozenset(token for token in tokens if len(token) == 1)
        self._unit = unit
        self._has_space = ' ' in self._tokens
        self._has_long_tokens = any(len(token) > 1 for token in tokens)
        self._spelling: dict[str, str] = {}
        self.unknown: Counter[str] = Counter()
        self.num_words = 0

    def __call__(self, line: str) -> list[str]:
        """The words of the language model in a line, which may be none."""
        if self._has_long_tokens:
            return [self._known(token) for token in line.split()]
        text = unicodedata.normalize('NFC', line.translate(APOSTROPHES))
        words = ''.join([self._spell(character) for character in text]).split()
        if not self._has_space:
            return [self._known(character) for word in words for character in word]
        words = [self._known(word) for word in words]
        if self._unit == 'word':
            return words
        characters: list[str] = []
        for word in words:
            characters += [SPACE] * bool(characters) + ([UNKNOWN] if word == UNKNOWN else list(word))
        return characters

    def warnings(self) -> list[str]:
        """A line about the words that became `<unk>`, if there are any."""
        num_unknown = sum(self.unknown.values())
        if not num_unknown:
            return []
        examples = ', '.join(repr(word) for word, _ in self.unknown.most_common(3))
        return [
            f"{num_unknown} of {self.num_words} words of the text can't be spelled with the vocabulary and became "
            f'{UNKNOWN} (most often: {examples})'
        ]

    def _known(self, word: str) -> str:
        self.num_words += 1
        if word in self._tokens or (self._has_space and self._characters.issuperset(word)):
            return word
        self.unknown[word] += 1
        return UNKNOWN

    def _spell(self, character: str) -> str:
        """The spelling of a character in the vocabulary; the character itself where it has none."""
        found = self._spelling.get(character)
        if found is None:
            found = self._spelling[character] = self._look_up(character)
        return found

    def _look_up(self, character: str) -> str:
        bare = ''.join(part for part in unicodedata.normalize('NFKD', character) if not unicodedata.combining(part))
        for form in (character, bare):
            for candidate in (form, form.lower(), form.upper()):
                if candidate and self._characters.issuperset(candidate):
                    return candidate
        return ' ' if unicodedata.category(character)[0] in 'PZSC' else character
