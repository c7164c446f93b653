"""The alphabet of a corpus: normalised transcripts, a vocabulary given or built, a report of odd characters."""

import functools
import unicodedata
from argparse import Namespace
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from utils.data.corpora import Problem, Recording
from utils.data.vocabulary import SPACE, Vocabulary
from utils.errors import CONTROL, DataError, UsageError, printable

RARE = 5  # characters that occur fewer times are listed
_LISTED = 10  # characters or words listed in a line of the report; the others are counted

_APOSTROPHES = "'’‘ʼ＇´`"
_INNER_MARKS = '·\u200c\u200d'  # middle dot (Catalan), zero width non-joiner (Persian) and joiner (Indic scripts)
_CASES: dict[str, Callable[[str], str]] = {'lower': str.lower, 'upper': str.upper, 'keep': str}
_DOTS = {'lower': str.maketrans('Iİ', 'ıi'), 'upper': str.maketrans('iı', 'İI')}
_DOTTED_SHARE = 0.1  # of ı and İ among all i: about 0.35 in Turkish; names bring some into other languages
_LOOK_ALIKES = {'LATIN', 'CYRILLIC', 'GREEK', 'ARMENIAN', 'COPTIC', 'CHEROKEE'}  # scripts with letters of one shape

_category = functools.cache(unicodedata.category)


class TranscriptNormaliser:
    """Normalises transcripts: Unicode's form NFC, one case, punctuation dropped or kept, single spaces.

    ``lower`` and ``upper`` are Unicode's default mappings: upper case turns ß into SS, lower case turns İ into i with a
    combining dot (U+0307). With ``has_dotless_i`` (Turkish, Azerbaijani) the pairs are I and ı, İ and i.

    ``drop`` turns punctuation and symbols (categories P and S) into spaces, so that ``twenty-one`` becomes ``twenty
    one`` and ``U.S.`` becomes ``u s``. Within a word, which means between two letters, an apostrophe of any shape
    becomes ``'`` and a middle dot or joiner stays. Other invisible format characters (Cf) are removed.

    Attributes:
      dropped: number of times each character was dropped.
    """

    def __init__(self, case: str, punctuation: str, has_dotless_i: bool = False):
        self._case = _CASES[case]
        self._dots = _DOTS.get(case, {}) if has_dotless_i else {}
        self._drops = punctuation == 'drop'
        self.dropped: Counter[str] = Counter()

    def __call__(self, text: str) -> str:
        text = unicodedata.normalize('NFC', text)
        if self._drops:
            text = self._without_punctuation(text)
        text = unicodedata.normalize('NFC', self._case(text.translate(self._dots)))
        return ' '.join(text.split())

    def _without_punctuation(self, text: str) -> str:
        if text.isascii() and text.replace(' ', '').isalnum():
            return text
        result = []
        for before, character, after in zip(f' {text}', text, f'{text[1:]} ', strict=False):
            category = _category(character)
            is_inner = _category(before)[0] in 'LM' and _category(after)[0] in 'LM'
            if is_inner and character in _APOSTROPHES:
                character = "'"
            elif (category == 'Cf' or category[0] in 'PS') and not (is_inner and character in _INNER_MARKS):
                self.dropped[character] += 1
                character = '' if category == 'Cf' else ' '
            result.append(character)
        return ''.join(result)


@dataclass(frozen=True)
class Alphabet:
    """The options of a corpus's alphabet, declared by `utils.data.preprocess_flags.add_alphabet_flags`.

    Attributes:
      case: lower, upper or keep.
      punctuation: drop or keep.
      given: vocabulary to use; None: the English alphabet, or the one to build.
      vocabulary_path: path of the vocabulary to build, which `utils.data.preprocess.preprocess` writes; None: none.
      min_count: times that a character must occur to be in the vocabulary that is built.
      keeps_unknown: keep transcripts with units outside the vocabulary, which count as errors.
    """

    case: str = 'lower'
    punctuation: str = 'keep'
    given: Vocabulary | None = None
    vocabulary_path: str | None = None
    min_count: int = 1
    keeps_unknown: bool = False

    @classmethod
    def from_flags(cls, args: Namespace) -> 'Alphabet':
        """The options that a command line asks for, with the vocabulary of ``-v`` read.

        Raises:
          UsageError: two options contradict each other.
          DataError: the vocabulary cannot be read.
        """
        if args.vocabfile and args.make_vocab:
            raise UsageError(
                f'-v {args.vocabfile} uses a vocabulary and --make_vocab {args.make_vocab} builds one; give one of them'
            )
        if args.min_count and not args.make_vocab:
            raise UsageError(f'--min_count {args.min_count} is for the vocabulary of --make_vocab, which is not given')
        if args.unknown == 'keep' and (args.make_vocab or args.split):
            other = '--make_vocab' if args.make_vocab else '-s/--split'
            raise UsageError(f'--unknown keep is for test sets, {other} for training sets; give one of the two')
        given = Vocabulary.read(args.vocabfile) if args.vocabfile else None
        keeps_unknown = args.unknown == 'keep'
        return cls(args.case, args.punctuation, given, args.make_vocab, args.min_count or 1, keeps_unknown)

    def apply(
        self, recordings: Sequence[Recording], problems: list[Problem], has_report: bool = True
    ) -> tuple[list[Recording], Vocabulary]:
        """Normalises all transcripts and finds the vocabulary; prints what is rare or odd in them.

        Args:
          recordings: recordings, with the transcripts as they are in the corpus.
          problems: gets the recordings that have no transcript left, or one with control characters.
          has_report: print the report; without -v and --make_vocab alike.

        Returns:
          The other recordings with their normalised transcripts, and the vocabulary.

        Raises:
          DataError: no character is frequent enough for a vocabulary.
        """
        normaliser = TranscriptNormaliser(self.case, self.punctuation, self._has_dotless_i(recordings))
        normalised = [each._replace(text=normaliser(each.text)) for each in recordings]
        kept = []
        for recording, original in zip(normalised, recordings, strict=True):
            if not recording.text:
                problems.append(Problem('transcript without words', recording.where, repr(original.text)))
            elif control := CONTROL.search(recording.text):
                problems.append(Problem('control character in a transcript', recording.where, ascii(control[0])))
            else:
                kept.append(recording)
        if not kept:
            return [], self.given or Vocabulary.english()  # `preprocess` names the problems
        characters = CharacterCounts((each.utterance_id, each.text) for each in normalised)
        vocabulary = self._vocabulary(kept)
        if has_report or self.given or self.vocabulary_path:
            expected = () if self.vocabulary_path else vocabulary.tokens
            lines = [*characters.report(expected), *_dropped_line(normaliser.dropped)]
            for line in [*lines, *self._description(vocabulary)]:
                print(printable(line))
        return kept, vocabulary

    def _has_dotless_i(self, recordings: Sequence[Recording]) -> bool:
        if self.given:
            return bool({'ı', 'İ'} & set(self.given.tokens))
        if not self.vocabulary_path:
            return False
        counts = Counter(character for each in recordings for character in each.text if character in 'iıIİ')
        return counts['ı'] + counts['İ'] > _DOTTED_SHARE * counts.total()

    def _vocabulary(self, recordings: Sequence[Recording]) -> Vocabulary:
        if self.given:
            return self.given
        if not self.vocabulary_path:
            return Vocabulary.english()
        counts = Counter(character for recording in recordings for character in recording.text)
        tokens = sorted(character for character, count in counts.items() if count >= self.min_count)
        if not tokens:
            raise DataError(f'no character occurs --min_count {self.min_count} times in the transcripts; lower it')
        return Vocabulary(tokens, self.vocabulary_path)  # the space precedes all other characters

    def _description(self, vocabulary: Vocabulary) -> list[str]:
        if not self.vocabulary_path:
            return []
        tokens = [SPACE if token == ' ' else _show(token) for token in vocabulary.tokens]
        listed = ' '.join(tokens) if len(tokens) <= 100 else f'{" ".join(tokens[:50])} ...'
        return [f'{self.vocabulary_path}: {len(tokens)} tokens: {listed}']


class CharacterCounts:
    """Counts of the characters of transcripts, with the first utterance that has each.

    Attributes:
      counts: number of times that each character occurs; white space counts as ``' '``.
    """

    def __init__(self, texts: Iterable[tuple[str, str]]):
        """Takes (utterance id, transcript) pairs."""
        self.counts: Counter[str] = Counter()
        self._example: dict[str, str] = {}
        words: dict[str, str] = {}  # with the utterance of each
        for utterance_id, text in texts:
            self.counts.update(text)
            for character in set(text) - self._example.keys():
                self._example[character] = utterance_id
            for word in text.split():
                words.setdefault(word, utterance_id)
        self._script = {each: _script(each) for each in self.counts}
        self._mixed = [(word, where) for word, where in words.items() if len(self._scripts(word)) > 1]

    def _scripts(self, word: str) -> set[str]:
        return {self._script[character] for character in word} & _LOOK_ALIKES

    def report(self, expected: Sequence[str] = ()) -> list[str]:
        """Lines about control and format characters, other scripts, digits, punctuation and rare characters.

        Args:
          expected: characters of a vocabulary that was chosen, which are not odd.
        """
        scripts: Counter[str] = Counter()
        for character, count in self.counts.items():
            scripts[self._script[character]] += count
        main_script = max((each for each in scripts if each), key=lambda each: scripts[each], default='')
        kinds: dict[str, list[str]] = {}
        for character in self.counts.keys() - set(expected):
            kind = _KINDS.get(_category(character)) or _KINDS.get(_category(character)[0])
            if not kind and self._script[character] in _LOOK_ALIKES - {main_script}:
                kind = f'letters of a script other than {main_script.capitalize()}'
            if not kind and character != ' ' and self.counts[character] < RARE:
                kind = f'fewer than {RARE} times'
            kinds.setdefault(kind or '', []).append(character)
        kinds.pop('', None)
        lines = [f'{kind}: {self._list(characters)}' for kind, characters in sorted(kinds.items())]
        if self._mixed:
            words = [f'{word!r} ({self._odd_letters(word)}; {where})' for word, where in self._mixed]
            lines.append(f'words that mix scripts: {_shorten(words)}')
        return [f'odd: {line}' for line in lines]

    def _list(self, characters: list[str]) -> str:
        characters.sort(key=lambda each: (-self.counts[each], each))
        return _shorten([f'{_show(each)} {self.counts[each]} ({self._example[each]})' for each in characters])

    def _odd_letters(self, word: str) -> str:
        """The letters of the script with the fewest letters in a word."""
        scripts = Counter(self._script[each] for each in word if self._script[each] in _LOOK_ALIKES)
        rarest = min(scripts, key=lambda each: (scripts[each], each))
        letters = (f'{each} U+{ord(each):04X}' for each in word if self._script[each] == rarest)
        return f'{rarest.capitalize()} {" ".join(letters)}'


_KINDS = {
    'Cc': 'control characters', 'Cf': 'format characters (invisible)', 'C': 'private or unassigned characters',
    'N': 'digits and numbers', 'P': 'punctuation', 'S': 'symbols',
}  # fmt: skip


@functools.cache
def _script(character: str) -> str:
    """Script of a letter, the first word of its name in Unicode: LATIN, CYRILLIC; empty for other characters."""
    if _category(character) not in ('Lu', 'Ll', 'Lt', 'Lo'):
        return ''
    words = unicodedata.name(character, '').split()
    return next((word for word in words if word not in ('FULLWIDTH', 'HALFWIDTH')), '')


def _show(character: str) -> str:
    """A character as it is, or by code point and name where a terminal would not show it by itself."""
    if character.isprintable() and not unicodedata.combining(character):
        return repr(character) if _category(character)[0] == 'P' else character
    return f'U+{ord(character):04X} {unicodedata.name(character, "")}'.strip()


def _shorten(items: list[str]) -> str:
    rest = f', and {len(items) - _LISTED} more' if len(items) > _LISTED else ''
    return ', '.join(items[:_LISTED]) + rest


def _dropped_line(dropped: Counter[str]) -> list[str]:
    items = [f'{_show(each)} {count}' for each, count in dropped.most_common()]
    return [f'dropped from the transcripts: {_shorten(items)}'] if items else []
