"""The text of language models: read from files and indexes, mapped to a vocabulary, searched for test transcripts."""

import functools
import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import msgspec

from utils.data.vocabulary import SPACE
from utils.errors import DataError
from utils.files import decode_json
from utils.lm.arpa import UNKNOWN, open_maybe_gzipped

APOSTROPHES = str.maketrans({'’': "'", '‘': "'", 'ʼ': "'", '＇': "'"})
SENTENCE_MARK, UNKNOWN_MARK = re.compile('</?s>', re.IGNORECASE), re.compile(UNKNOWN, re.IGNORECASE)
INDEX_SUFFIXES = ('.json', '.jsonl')
LEAST_WORDS_TO_TELL = 3  # shorter transcripts ("yes") are in any text and prove nothing


class _Line(msgspec.Struct):
    texts: str


def is_index(path: str) -> bool:
    return path.removesuffix('.gz').endswith(INDEX_SUFFIXES)


def read_sentences(paths: Sequence[str]) -> Iterator[str]:
    """The lines of text files and the transcripts of indexes, gzipped or not; `<s>` and `</s>` part sentences.

    Raises:
      DataError: a file is no UTF-8 text, or a line of an index has no transcript.
    """
    for path in paths:
        with open_maybe_gzipped(path) as lines:
            for number, line in enumerate(lines, 1):
                try:
                    text = line.decode('utf-8-sig' if number == 1 else 'utf-8')
                except UnicodeDecodeError as error:
                    raise DataError(f'{path} line {number}: not UTF-8 text ({error.reason}); save it so') from error
                if text.strip() and is_index(path):
                    remedy = 'give an index, or text with another suffix than .json'
                    text = decode_json(text, _Line, path, 'an utterance with texts', remedy, number).texts
                yield from SENTENCE_MARK.split(text)


def find_test_indexes(paths: Sequence[str]) -> list[str]:
    """The indexes that lie beside given ones and have "test" in their names."""
    folders = dict.fromkeys(Path(path).parent for path in paths if is_index(path))
    others = (str(other) for folder in folders for other in sorted(folder.glob('*test*')) if other.is_file())
    return [other for other in others if is_index(other)]


class Overlap:
    """Detects transcripts of test sets in a language model's text, which would make their scores look too good."""

    def __init__(self, paths: Sequence[str], normalizer: Callable[[str], list[str]]):
        self._transcripts: dict[tuple[str, ...], set[str]] = {}
        self._found: dict[str, set[tuple[str, ...]]] = {path: set() for path in paths}
        for path in paths:
            for text in read_sentences([path]):
                words = tuple(normalizer(text))
                if len(text.split()) >= LEAST_WORDS_TO_TELL or len(words) > 3 * LEAST_WORDS_TO_TELL:
                    self._transcripts.setdefault(words, set()).add(path)
        self._totals = Counter(path for owners in self._transcripts.values() for path in owners)

    def watch(self, sentences: Iterable[list[str]]) -> Iterator[list[str]]:
        """Yields the sentences and notes those that are transcripts of a test set."""
        for words in sentences:
            for path in self._transcripts.get(key := tuple(words), ()) if self._transcripts else ():
                self._found[path].add(key)
            yield words

    def warnings(self) -> list[str]:
        """A line for each test set with transcripts in the text."""
        return [
            f'{len(found)} of the {self._totals[path]} different transcripts of {path} (of {LEAST_WORDS_TO_TELL} words '
            'or more) are in the text: its scores with this model will look better than they are; leave them out'
            for path, found in self._found.items() if found
        ]  # fmt: skip


class TextNormalizer:
    """Turns lines of text into the words of a language model.

    A character that the vocabulary lacks is tried in the other case, then without its accent. Punctuation
    becomes a space. A word (in text without spaces: a character) that still has other characters becomes `<unk>`.
    """

    def __init__(self, tokens: Sequence[str], unit: str):
        """Takes the tokens of a vocabulary; a word of the language model is a 'word', or with unit 'char' a token."""
        self._tokens = frozenset(tokens)
        self._characters = frozenset(token for token in tokens if len(token) == 1)
        self._unit = unit
        self._has_space = ' ' in self._tokens
        self._has_long_tokens = any(len(token) > 1 for token in tokens)
        self._spell = functools.cache(self._look_up)
        self.unknown: Counter[str] = Counter()  # the words that became `<unk>`
        self.num_words = 0  # in the lines (in text without spaces: of characters)

    def __call__(self, line: str) -> list[str]:
        """The words of the language model in a line, which may be none."""
        if self._has_long_tokens:
            return [self._known(token) for token in line.split()]
        text = unicodedata.normalize('NFC', line.translate(APOSTROPHES))
        parts = [''.join(map(self._spell, part)) for part in UNKNOWN_MARK.split(text)]
        words = f' {UNKNOWN} '.join(parts).split()
        if not self._has_space:
            return [self._known(each) for word in words for each in ([word] if word == UNKNOWN else word)]
        words = list(map(self._known, words))
        if self._unit == 'word':
            return words
        characters: list[str] = []
        for word in words:
            characters += [SPACE] * bool(characters) + ([UNKNOWN] if word == UNKNOWN else list(word))
        return characters

    def warnings(self) -> list[str]:
        """A line about the words that became `<unk>`, if there are any."""
        if not self.unknown:
            return []
        share = f'{self.unknown.total()} of {self.num_words} words of the text'
        examples = ', '.join(repr(word) for word, _ in self.unknown.most_common(3))
        return [f"{share} can't be spelled with the vocabulary and became {UNKNOWN} (most often: {examples})"]

    def _known(self, word: str) -> str:
        self.num_words += 1
        if word == UNKNOWN or word in self._tokens or (self._has_space and self._characters.issuperset(word)):
            return word
        self.unknown[word] += 1
        return UNKNOWN

    def _look_up(self, character: str) -> str:
        """The spelling of a character in the vocabulary; the character itself where it has none."""
        bare = ''.join(part for part in unicodedata.normalize('NFKD', character) if not unicodedata.combining(part))
        for form in (character, bare):
            for candidate in (form, form.lower(), form.upper()):
                if candidate and self._characters.issuperset(candidate):
                    return candidate
        return ' ' if unicodedata.category(character)[0] in 'PZSC' else character
