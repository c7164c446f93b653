"""Evaluation of an index and its report: a table of scores, the worst utterances aligned, hypotheses in files."""

import itertools
import json
import logging
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import wcwidth

from utils.data.index import Index
from utils.data.transcripts import references, rows_with_loss
from utils.data.vocabulary import Vocabulary
from utils.files import write_text
from utils.metrics import ErrorCounts, Scores, align, format_alignment, score, score_utterance, tokenize

log = logging.getLogger(__name__)

TEXT_NAME, JSON_NAME = 'hypotheses.txt', 'hypotheses.json'


@dataclass(frozen=True)
class References:
    """An index prepared for scoring; its transcripts are encoded once.

    Attributes:
      index: utterances.
      texts: transcripts, as the vocabulary spells them.
      fits: bool `[utterances]`, whether the utterance has a loss; see `transcripts.rows_with_loss`.
    """

    index: Index
    texts: Sequence[str]
    fits: np.ndarray

    @classmethod
    def prepare(cls, index: Index, vocabulary: Vocabulary, frames_per_symbol: int = 0) -> 'References':
        """Prepares the transcripts; `frames_per_symbol` and errors as `time_stride` and those of `rows_with_loss`."""
        return cls(index, references(index, vocabulary), rows_with_loss(index, vocabulary, frames_per_symbol))


@dataclass(frozen=True)
class Evaluation:
    """An index, recognised and scored; sequences are in the order of the index.

    Attributes:
      keys: feature files.
      references: transcripts, as the vocabulary spells them.
      hypotheses: a `utils.decode.hypothesis.Hypothesis` or `SpelledHypothesis` of each utterance.
      texts: recognised texts.
      scores: errors over all utterances.
      nbest: the best texts of each utterance and their scores, as JSON; None where one was asked for.
      loss: mean loss of an utterance; None where it was not computed.
      posteriors: float16 log-posteriors `[frames, classes]` of each utterance, where they were kept.
      losses: loss of each utterance, meaningless where `References.fits` is False; None where it was not computed.
    """

    keys: Sequence[str]
    references: Sequence[str]
    hypotheses: Sequence
    texts: Sequence[str]
    scores: Scores
    nbest: Sequence[Sequence[dict]] | None = None
    loss: float | None = None
    posteriors: Sequence[np.ndarray] | None = None
    losses: np.ndarray | None = None

    @classmethod
    def score(
        cls,
        references: References,
        hypotheses: Sequence,
        vocabulary: Vocabulary,
        loss: float | None = None,
        posteriors: Sequence[np.ndarray] | None = None,
    ) -> 'Evaluation':
        """Scores hypotheses against their references."""
        texts = [vocabulary.decode(hypothesis.ids) for hypothesis in hypotheses]
        nbest = None
        if any(getattr(hypothesis, 'alternatives', ()) for hypothesis in hypotheses):
            nbest = [
                [{'text': vocabulary.decode(each.ids), **each.scores()} for each in (best, *best.alternatives)]
                for best in hypotheses
            ]
        scores = score(references.texts, texts, vocabulary.has_words)
        return cls(references.index.keys, references.texts, hypotheses, texts, scores, nbest, loss, posteriors)


def format_table(rows: Sequence[tuple[str, Scores]]) -> str:
    """A table with one line per index: utterances, error rates in percent, substitutions, deletions, insertions.

    Texts without word boundaries have no WER: with the sentence as its only word, it would repeat the sentence error
    rate.
    """
    has_words = any(scores.has_word_boundaries for _, scores in rows)
    counts = ['S', 'D', 'I']
    heading = ['index', 'utterances', *(['WER %', *counts] if has_words else []), 'CER %', *counts, 'sentence errors %']
    table = [heading]
    for name, scores in rows:
        words = [scores.words] if has_words else []
        cells = [cell for errors in (*words, scores.characters) for cell in _cells(errors)]
        table.append([name, str(scores.utterances), *cells, f'{100 * scores.sentence_error_rate:.2f}'])
    widths = [max(map(wcwidth.width, column)) for column in zip(*table, strict=True)]
    lines = []
    for name, *numbers in table:
        columns = [number.rjust(width) for number, width in zip(numbers, widths[1:], strict=True)]
        lines.append('  '.join([wcwidth.ljust(name, widths[0]), *columns]))
    return '\n'.join(lines)


def _cells(errors: ErrorCounts) -> list[str]:
    return [f'{100 * errors.rate:.2f}', str(errors.substitutions), str(errors.deletions), str(errors.insertions)]


def utterance_names(keys: Sequence[str]) -> list[str]:
    """Names of the utterances: the stems of their feature files, or the whole keys where stems repeat."""
    stems = [Path(key).stem for key in keys]
    return stems if len(set(stems)) == len(stems) else list(keys)


def format_worst(result: Evaluation, num_worst: int) -> str:
    """The utterances with the highest error rates, each aligned; of equal rates, those with most errors first."""
    has_words = result.scores.has_word_boundaries
    ranked = []
    for row, (reference, hypothesis) in enumerate(zip(result.references, result.texts, strict=True)):
        errors = score_utterance(reference, hypothesis, has_words).leading
        if errors.errors:
            ranked.append((-errors.rate, -errors.errors, row, errors))
    names = utterance_names(result.keys)
    blocks = []
    for _, _, row, errors in sorted(ranked, key=lambda entry: entry[:3])[: max(0, num_worst)]:
        pairs = align(*(tokenize(texts[row], has_words) for texts in (result.references, result.texts)))
        unit = 'words' if has_words else 'characters'
        blocks.append(
            f'{names[row]}: {errors.errors} errors in {errors.reference_length} {unit} ({100 * errors.rate:.1f} %)\n'
            + format_alignment(pairs)
        )
    return '\n\n'.join(blocks)


def write_hypotheses(
    result: Evaluation, out_dir: str | os.PathLike, name: str, decoding: Mapping[str, Any]
) -> tuple[Path, Path]:
    """Writes ``hypotheses.txt`` (``UTTERANCE<tab>TEXT`` a line) and ``hypotheses.json`` (with references and errors).

    Files of another `decoding` (options, and weights of the model) are kept as ``*.bak``; returns the two new paths.
    """
    text_path, json_path = Path(out_dir) / TEXT_NAME, Path(out_dir) / JSON_NAME
    names = utterance_names(result.keys)
    how = f' "decoding": {_to_json(dict(decoding))},\n'
    if json_path.exists() and how not in json_path.read_text(encoding='utf-8', errors='replace'):
        for path in filter(Path.exists, (text_path, json_path)):
            path.replace(f'{path}.bak')
        log.warning('%s: texts that were decoded with other options or weights are kept as %s.bak', name, json_path)
    lines = [f'{name}\t{text}\n' for name, text in zip(names, result.texts, strict=True)]
    write_text(text_path, ''.join(lines))
    document = {
        'index': name,
        'checkpoint': decoding.get('checkpoint', ''),
        'loss': _finite(result.loss),
        'scores': describe_scores(result.scores),
    }
    # one utterance a line: a person can grep it, and a diff of two runs reads well
    entries = ',\n'.join(_to_json(_describe_utterance(result, row, name)) for row, name in enumerate(names))
    head = _to_json(document, indent=1)[:-2]
    write_text(json_path, f'{head},\n{how} "utterances": [\n{entries}\n]}}\n')
    return text_path, json_path


def _describe_utterance(result: Evaluation, row: int, name: str) -> dict[str, Any]:
    reference, text = result.references[row], result.texts[row]
    scores = score_utterance(reference, text, result.scores.has_word_boundaries)
    return {
        'utterance': name,
        'key': str(result.keys[row]),
        'reference': reference,
        'hypothesis': text,
        'words': asdict(scores.words),
        'characters': asdict(scores.characters),
        'log_prob': _finite(result.hypotheses[row].log_prob),
        **({'nbest': result.nbest[row]} if result.nbest else {}),
    }


def _to_json(value: dict, indent: int | None = None) -> str:
    return json.dumps(value, ensure_ascii=False, allow_nan=False, indent=indent)


def describe_scores(scores: Scores) -> dict[str, Any]:
    """Scores as JSON: counts, and rates as fractions."""
    return {
        'utterances': scores.utterances,
        'wer': scores.words.rate,
        'cer': scores.characters.rate,
        'sentence_error_rate': scores.sentence_error_rate,
        'words': asdict(scores.words),
        'characters': asdict(scores.characters),
        'leading': 'wer' if scores.has_word_boundaries else 'cer',
    }


def _finite(number: float | None) -> float | None:
    """The number, or None (null) where it is not finite, because JSON has no infinity."""
    return float(number) if number is not None and math.isfinite(number) else None


def index_names(paths: Sequence[str]) -> list[str]:
    """Unique names of indexes for the table and for directories: their stems, numbered where one repeats."""
    names: list[str] = []
    for stem in (Path(path).stem for path in paths):
        stem = stem if stem.strip('.') else f'index{stem}'  # the stem of ...json is .., another directory
        numbered = (f'{stem}-{number}' for number in itertools.count(2))
        names.append(next(name for name in itertools.chain([stem], numbered) if name not in names))
    return names


def report(results: Mapping[str, Evaluation], out_dir: Path, decoding: Mapping[str, Any], num_worst: int) -> None:
    """Writes the hypotheses of each index in a directory of its name; prints the worst utterances, then the table."""
    for name, result in results.items():
        paths = write_hypotheses(result, out_dir / name, name, decoding)
        log.info('%s: hypotheses in %s and %s', name, *paths)
        worst = format_worst(result, num_worst)
        if worst:
            print(f'The worst of {name}:\n\n{worst}\n')
    print(format_table([(name, result.scores) for name, result in results.items()]), flush=True)
