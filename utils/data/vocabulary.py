"""The vocabulary of a model: tokens in the order of their ids; encoding and decoding of texts."""

import io
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from typing import IO, Any

from utils.errors import CONTROL, DataError
from utils.files import write_text

VOCABULARY_NAME = 'vocab.txt'  # in a run directory
SPACE = '<SPACE>'
UNITS = ('char', 'pinyin', 'phone')

_ENGLISH = " abcdefghijklmnopqrstuvwxyz'"


class Vocabulary:
    """Tokens in the order of their ids.

    With a space among the tokens (``<SPACE>`` in files, ``' '`` in `tokens`) a text is a sequence of characters.
    Without one, it is a sequence of characters if every token is a single character and the text has no spaces;
    otherwise tokens are separated by spaces. If the letters of the tokens are of one case, texts are folded to it, but
    for characters that would become several (İ, ß); i and I keep their dots in a vocabulary with ı or İ. Texts and
    tokens are in Unicode's form NFC, or NFD if tokens are bare accents. Runs of white space count as one space.

    Attributes:
      tokens: list of str, in the order of the ids; the space is ``' '``.
      name: name in messages, usually the path of the file.
      has_space: whether the space is a token.
      separator: separator of tokens in a text, ``''`` or ``' '``.
      has_words: whether texts have word boundaries, so that word errors can be counted.
    """

    def __init__(self, tokens: Sequence[str], name: str = 'the vocabulary'):
        self.tokens, self.name = list(tokens), name
        has_accents = any(map(unicodedata.combining, (token[:1] or ' ' for token in self.tokens)))
        self._form: Any = 'NFD' if has_accents else 'NFC'
        if self._form == 'NFC':
            self.tokens = [unicodedata.normalize('NFC', token) for token in self.tokens]
        elif not all(unicodedata.is_normalized('NFD', token) for token in self.tokens):
            self._form = ''  # both é and a bare accent, which an older version of the preprocessing could write
        self._ids = {token: token_id for token_id, token in enumerate(self.tokens)}
        self.has_space = ' ' in self._ids
        self._check()
        self._is_single = all(len(token) == 1 for token in self.tokens)
        self.separator = '' if self._is_single else ' '
        self.has_words = self.has_space or self.separator == ' '
        letters = ''.join(self.tokens)
        cases = (letters != letters.upper(), letters != letters.lower())  # has lower-case letters, has upper-case ones
        self._case: Callable[[str], str] = {(True, False): str.lower, (False, True): str.upper}.get(cases, str)
        dotted, dotless = ('Iİ', 'ıi') if self._case is str.lower else ('ıi', 'Iİ')
        self._dots = str.maketrans(dotted, dotless) if self._case is not str and {'ı', 'İ'} & set(letters) else {}

    def _check(self) -> None:
        if not self.tokens:
            raise DataError(f'{self.name}: no tokens in it; give one "TOKEN ID" a line')
        if len(self._ids) < len(self.tokens):
            double = next(token for token_id, token in enumerate(self.tokens) if self._ids[token] != token_id)
            raise DataError(f'{self.name}: token {_show(double)} has two ids; remove one')
        for token in self.tokens:
            if CONTROL.search(token):
                raise DataError(f'{self.name}: token {ascii(token)} has a control character; remove it')
            if token != ' ' and (not token or token.split() != [token]):
                raise DataError(f'{self.name}: token {token!r} is empty or has white space in it; the space is {SPACE}')
            if self.has_space and len(token) > 1:
                raise DataError(
                    f'{self.name}: token {token!r} has more than one character, which cannot stand beside {SPACE}; '
                    f'remove one of the two'
                )

    def __len__(self) -> int:
        return len(self.tokens)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Vocabulary) and self.tokens == other.tokens

    __hash__ = None  # type: ignore[assignment]

    @classmethod
    def english(cls) -> 'Vocabulary':
        """The English alphabet: space 0, a-z 1-26, ' 27."""
        return cls(_ENGLISH, 'the English alphabet (space, a-z, apostrophe)')

    @classmethod
    def from_transcripts(cls, texts: Iterable[str], unit: str) -> 'Vocabulary':
        """The units of ``texts``, sorted: characters without spaces for ``char``, else tokens separated by spaces."""
        if unit not in UNITS:
            raise ValueError(f'unit {unit!r} is not one of {UNITS}')
        units: set[str] = set()
        for text in texts:
            text = unicodedata.normalize('NFC', text)
            units.update(''.join(text.split()) if unit == 'char' else text.split())
        return cls(sorted(units), f'the {unit} vocabulary')

    @classmethod
    def read(cls, path: str) -> 'Vocabulary':
        """Reads one ``TOKEN ID`` per line, the ids 0, 1, 2, ... in any order; a `DataError` for anything else."""
        with open(path, 'rb') as file:
            return cls.parse(file, path)

    @classmethod
    def parse(cls, file: IO[bytes], path: str) -> 'Vocabulary':
        """As `read`, from an open file; the path is for messages."""
        token_of: dict[int, str] = {}
        try:
            for number, line in enumerate(io.TextIOWrapper(file, encoding='utf-8-sig'), 1):
                if line.strip():
                    _read_line(line, f'{path} line {number}', token_of)
        except UnicodeDecodeError as error:
            raise DataError(f'{path}: not UTF-8 text ({error.reason}); save it as UTF-8') from error
        missing = next((token_id for token_id in range(len(token_of)) if token_id not in token_of), None)
        if missing is not None:
            raise DataError(f'{path}: no token has the id {missing}; number the tokens 0, 1, 2, ... without a gap')
        return cls([token_of[token_id] for token_id in range(len(token_of))], path)

    def write(self, path: str) -> None:
        """Writes one ``TOKEN ID`` per line, atomically."""
        lines = [f'{SPACE if token == " " else token} {token_id}\n' for token_id, token in enumerate(self.tokens)]
        write_text(path, ''.join(lines))

    def normalise(self, text: str) -> str:
        """The text as `decode` returns it: one case, one Unicode form, white space collapsed to single spaces."""
        text = text.translate(self._dots) if self._dots else text
        folded = self._case(text)
        if len(folded) != len(text):
            folded = ''.join([each if len(self._case(each)) > 1 else self._case(each) for each in text])
        return ' '.join((unicodedata.normalize(self._form, folded) if self._form else folded).split())

    def split(self, text: str) -> Sequence[str]:
        """Units of a text, in order."""
        text = self.normalise(text)
        return text if self.has_space or (self._is_single and ' ' not in text) else text.split(' ') if text else ()

    def unknown(self, text: str) -> list[str]:
        """Units of ``text`` outside the vocabulary, each once, in order of appearance."""
        units = self.split(text)
        if self._ids.keys() >= set(units):
            return []
        return [unit for unit in dict.fromkeys(units) if unit not in self._ids]

    def spell(self, text: str) -> str:
        """The text as `decode` would return it if all its units were in the vocabulary."""
        return self.separator.join(self.split(text))

    def encode(self, text: str, unknown: int | None = None) -> list[int]:
        """Ids of the units of a text; a unit outside the vocabulary gets ``unknown``, or is named by a `DataError`."""
        if unknown is not None:
            return [self._ids.get(unit, unknown) for unit in self.split(text)]
        try:
            return [self._ids[unit] for unit in self.split(text)]
        except KeyError as error:
            unit = error.args[0]
            kind = 'character' if len(unit) == 1 else 'unit'
            raise DataError(
                f'{kind} {_show(unit)} is not in {self.name}; rebuild the vocabulary or normalise the text'
            ) from None

    def decode(self, ids: Iterable[int]) -> str:
        """Text of a sequence of ids."""
        return self.separator.join([self.tokens[token_id] for token_id in ids])


def _read_line(line: str, where: str, token_of: dict[int, str]) -> None:
    fields = line.rsplit(maxsplit=1)
    if len(fields) != 2 or not (fields[1].isascii() and fields[1].isdigit() and len(fields[1]) < 10):
        raise DataError(f'{where}: expected "TOKEN ID", got {line.strip()!r}; write the space as {SPACE}')
    token, token_id = fields[0].strip(), int(fields[1])
    if token_id in token_of:
        raise DataError(f'{where}: id {token_id} is given twice; number the tokens 0, 1, 2, ...')
    token_of[token_id] = ' ' if token == SPACE else token


def _show(token: str) -> str:
    return SPACE if token == ' ' else f"'{token}'" if token.isprintable() else ascii(token)
