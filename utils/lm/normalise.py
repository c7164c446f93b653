"""Text as a vocabulary can spell it, for language models: case, accents and punctuation fall where it lacks them."""

import unicodedata
from collections import Counter
from collections.abc import Sequence

from utils.data.vocabulary import SPACE
from utils.lm.arpa_words import UNKNOWN

UNITS = ('char', 'word')
APOSTROPHES = str.maketrans({'’': "'", '‘': "'", 'ʼ': "'", '＇': "'"})


class Normaliser:
    """Turns lines of text into the words of a language model.

    A character that the vocabulary lacks is tried in the other case, then without its accent. Punctuation
    becomes a space. A word (in text without spaces: a character) that still can't be spelled becomes `<unk>`.

    Attributes:
      unknown: what became `<unk>`, with its number of occurrences.
      num_words: how many words the lines held (in text without spaces: characters).
    """

    def __init__(self, tokens: Sequence[str], unit: str):
        """Makes the normaliser of a vocabulary.

        Args:
          tokens: the vocabulary's.
          unit: what is one word of the language model: 'char' (a token of the vocabulary) or 'word'.
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
        """A line about what became `<unk>`, if anything did."""
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
        """What stands for a character; itself where nothing in the vocabulary does."""
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
