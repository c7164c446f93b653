"""Hot words: phrases to be recognised more often, read from a file or a command line."""

import logging
import math
import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from utils.data.vocabulary import Vocabulary
from utils.errors import DataError, UsageError
from utils.lm.context_graph import ContextGraph, build_graph

log = logging.getLogger(__name__)

LARGEST_WEIGHT = 100.0


class Hotwords(NamedTuple):
    """Phrases of a vocabulary with their weights.

    Attributes:
      graph: automaton that scores them.
      words: token ids of each word of the phrases with a positive weight, where the vocabulary has a space.
      num_phrases: number of phrases.
    """

    graph: ContextGraph
    words: tuple[tuple[int, ...], ...]
    num_phrases: int


def read_hotwords(source: str, vocabulary: Vocabulary, default_weight: float) -> Hotwords:
    """Reads hot words; the README of utils/decode describes the format.

    Args:
      source: path of a file with a phrase a line, or phrases between commas.
      vocabulary: vocabulary of the run; phrases are normalised as its texts.
      default_weight: weight of phrases that come without one, for each symbol (nats).

    Raises:
      DataError: a line of the file cannot be used.
      UsageError: a phrase between commas cannot be used.
    """
    is_file = os.path.exists(source)
    error_class = DataError if is_file else UsageError
    phrases: dict[tuple[int, ...], float] = {}
    places: dict[tuple[int, ...], str] = {}
    num_repeated = 0
    for where, line in _read_lines(source, vocabulary) if is_file else _split_list(source):
        try:
            ids, weight = _parse(line, vocabulary, default_weight)
        except ValueError as error:
            hint = '' if is_file or ',' in source else ' (no file has this name)'
            raise error_class(f'{where}: {error}{hint}') from None
        if phrases.setdefault(ids, weight) != weight:
            phrase = vocabulary.decode(ids)
            raise error_class(f'{where}: {phrase!r} has the weight {weight:g} here, {phrases[ids]:g} in '
                              f'{places[ids]}; remove one of them')  # fmt: skip
        num_repeated += ids in places
        places.setdefault(ids, where)
    space_id = vocabulary.tokens.index(' ') if vocabulary.has_space else -1
    words = {word for ids, weight in phrases.items() if weight > 0 for word in _words(ids, space_id)}
    log.info('hot words: %d phrases%s', len(phrases), f', {num_repeated} repeated' if num_repeated else '')
    return Hotwords(build_graph(phrases, space_id), tuple(sorted(words)), len(phrases))


def _words(ids: tuple[int, ...], space_id: int) -> list[tuple[int, ...]]:
    """The words of a phrase; none where the vocabulary has no space."""
    if space_id < 0:
        return []
    edges = [-1, *(place for place, token in enumerate(ids) if token == space_id), len(ids)]
    return [ids[start + 1 : end] for start, end in zip(edges, edges[1:], strict=False)]


def _read_lines(path: str, vocabulary: Vocabulary) -> Iterator[tuple[str, str]]:
    """The lines of a file with their places, without blank ones and comments."""
    for number, line in enumerate(Path(path).read_bytes().splitlines(), 1):
        try:
            text = line.decode('utf-8-sig' if number == 1 else 'utf-8').strip()
        except UnicodeDecodeError as error:
            raise DataError(f'{path} line {number}: not UTF-8 text ({error.reason}); save it as UTF-8') from None
        if text and (text[0] != '#' or '#' in vocabulary.tokens):
            yield f'{path} line {number}', text


def _split_list(source: str) -> Iterator[tuple[str, str]]:
    for item in source.split(',') if source.strip() else ():
        yield f'--hotwords {item.strip()!r}', item.strip()


def _parse(line: str, vocabulary: Vocabulary, default_weight: float) -> tuple[tuple[int, ...], float]:
    """Token ids and weight of a phrase; a ValueError tells what is wrong."""
    # a colon that is a symbol of the vocabulary may be a part of the phrase
    phrase, separator, weight_text = line.rpartition('\t' if '\t' in line or ':' in vocabulary.tokens else ':')
    if not separator:
        phrase, weight_text = line, str(default_weight)
    try:
        weight = float(weight_text)
    except ValueError:
        weight = math.nan
    if not abs(weight) <= LARGEST_WEIGHT:
        raise ValueError(
            f'the weight {weight_text.strip()!r} is not a number from {-LARGEST_WEIGHT:g} to {LARGEST_WEIGHT:g}; '
            'give PHRASE, or PHRASE:WEIGHT'
        )
    if not vocabulary.split(phrase):
        raise ValueError('the phrase is empty; give PHRASE, or PHRASE:WEIGHT')
    if unknown := vocabulary.unknown(phrase):
        listed = ' '.join(map(ascii if any(not each.isprintable() for each in unknown) else repr, unknown))
        raise ValueError(
            f'{phrase.strip()!r} has symbols that the vocabulary of the run lacks: {listed}; spell it otherwise or '
            'remove it'
        )
    return tuple(vocabulary.encode(phrase)), weight
