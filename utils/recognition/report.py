"""What a test says: a table of scores, the worst utterances aligned, and the hypotheses in files."""

import json
import logging
import math
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import wcwidth

from utils.files import write_text
from utils.metrics import ErrorCounts, Scores, align, format_alignment, score_utterance, tokenize

if TYPE_CHECKING:
    from utils.data.index import Index
    from utils.data.vocabulary import Vocabulary
    from utils.decode.hypothesis import Hypothesis

log = logging.getLogger(__name__)

TEXT_NAME, JSON_NAME = 'hypotheses.txt', 'hypotheses.json'


class Evaluation(NamedTuple):
    """One index, recognised and scored; the lists are in its order.

    Attributes:
      hypotheses: a `utils.decode.hypothesis.Hypothesis` each.
      references: the transcripts, as the vocabulary spells them.
      texts: of the hypotheses.
      loss: mean over the utterances, None where it was not computed.
      scores: over all utterances.
    """

    hypotheses: 'Sequence[Hypothesis]'
    references: Sequence[str]
    texts: Sequence[str]
    loss: float | None
    scores: Scores


@dataclass(frozen=True)
class IndexResult:
    """The outcome of one index; the sequences stand in the order of the index.

    Attributes:
      name: what the table calls it.
      keys: the feature files.
      references: the transcripts, as the vocabulary spells them.
      hypotheses: the recognised texts.
      log_probs: their log probabilities.
      scores: over all utterances.
      loss: mean over the utterances, None where it was not computed.
      checkpoint: which of the run's checkpoints answered.
      nbest: of each utterance the best texts and their scores, as JSON, where more than one was asked for.
    """

    name: str
    keys: Sequence[str]
    references: Sequence[str]
    hypotheses: Sequence[str]
    log_probs: Sequence[float]
    scores: Scores
    loss: float | None = None
    checkpoint: str = ''
    nbest: Sequence[Sequence[dict]] | None = None


def format_table(rows: Sequence[tuple[str, Scores]]) -> str:
    """A line for each index, under a heading: utterances, rates in percent, and what they consist of.

    Texts without word boundaries have no WER: with the sentence as its only word, it would repeat
    the sentence error rate.
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
    """What to call the utterances: the stems of their feature files, or the whole keys where stems repeat."""
    stems = [Path(key).stem for key in keys]
    return stems if len(set(stems)) == len(stems) else list(keys)


def format_worst(result: IndexResult, num_worst: int) -> str:
    """The utterances with the highest error rates, each aligned; of equal rates, those with most errors first."""
    has_words = result.scores.has_word_boundaries
    ranked = []
    for row, (reference, hypothesis) in enumerate(zip(result.references, result.hypotheses, strict=True)):
        errors = score_utterance(reference, hypothesis, has_words).leading
        if errors.errors:
            ranked.append((-errors.rate, -errors.errors, row, errors))
    names = utterance_names(result.keys)
    blocks = []
    for _, _, row, errors in sorted(ranked, key=lambda entry: entry[:3])[: max(0, num_worst)]:
        pairs = align(*(tokenize(texts[row], has_words) for texts in (result.references, result.hypotheses)))
        unit = 'words' if has_words else 'characters'
        blocks.append(
            f'{names[row]}: {errors.errors} errors in {errors.reference_length} {unit} ({100 * errors.rate:.1f} %)\n'
            + format_alignment(pairs)
        )
    return '\n\n'.join(blocks)


def write_hypotheses(result: IndexResult, out_dir: str | os.PathLike) -> tuple[Path, Path]:
    """Writes ``hypotheses.txt`` (``UTTERANCE<tab>TEXT`` a line) and ``hypotheses.json`` (with references and errors).

    Returns:
      The two paths.
    """
    text_path, json_path = Path(out_dir) / TEXT_NAME, Path(out_dir) / JSON_NAME
    names = utterance_names(result.keys)
    lines = [f'{name}\t{" ".join(text.split())}\n' for name, text in zip(names, result.hypotheses, strict=True)]
    write_text(text_path, ''.join(lines))
    nbest = [{'nbest': list(texts)} for texts in result.nbest] if result.nbest else [{}] * len(names)
    columns = (names, result.keys, result.references, result.hypotheses, result.log_probs, nbest)
    utterances = [
        {
            'utterance': name,
            'key': str(key),
            'reference': reference,
            'hypothesis': hypothesis,
            'words': asdict(scores.words),
            'characters': asdict(scores.characters),
            'log_prob': _finite(log_prob),
            **best_texts,
        }
        for name, key, reference, hypothesis, log_prob, best_texts in zip(*columns, strict=True)
        for scores in [score_utterance(reference, hypothesis, result.scores.has_word_boundaries)]
    ]
    document = {
        'index': result.name,
        'checkpoint': result.checkpoint,
        'loss': _finite(result.loss),
        'scores': describe_scores(result.scores),
    }
    # one utterance a line: a person can grep it, and a diff of two runs reads well
    entries = ',\n'.join(json.dumps(entry, ensure_ascii=False, allow_nan=False) for entry in utterances)
    head = json.dumps(document, ensure_ascii=False, allow_nan=False, indent=1)[:-2]
    write_text(json_path, f'{head},\n "utterances": [\n{entries}\n]}}\n')
    return text_path, json_path


def describe_scores(scores: Scores) -> dict:
    """Scores as JSON: the counts, and the rates as fractions."""
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
    """JSON has no infinity: null."""
    return float(number) if number is not None and math.isfinite(number) else None


def index_names(paths: Sequence[str]) -> list[str]:
    """The stems of the indexes, numbered where one repeats: each names a row of the table and a directory."""
    names: list[str] = []
    for path in paths:
        stem = name = Path(path).stem
        number = 2
        while name in names:
            name, number = f'{stem}-{number}', number + 1
        names.append(name)
    return names


def index_result(
    name: str, index: 'Index', evaluation: Evaluation, checkpoint: str, vocabulary: 'Vocabulary'
) -> IndexResult:
    """The outcome of an index."""
    hypotheses = evaluation.hypotheses
    nbest = None
    if any(getattr(hypothesis, 'alternatives', ()) for hypothesis in hypotheses):
        nbest = [
            [{'text': vocabulary.decode(text.ids), **text.scores()} for text in (best, *best.alternatives)]
            for best in hypotheses
        ]
    return IndexResult(
        name,
        index.keys,
        evaluation.references,
        evaluation.texts,
        [hypothesis.log_prob for hypothesis in hypotheses],
        evaluation.scores,
        evaluation.loss,
        checkpoint,
        nbest,
    )


def report(results: Sequence[IndexResult], out_dir: Path, num_worst: int) -> None:
    """Writes the hypotheses below ``out_dir``; prints the worst utterances, then the table."""
    for result in results:
        paths = write_hypotheses(result, out_dir / result.name)
        log.info('%s: hypotheses in %s and %s', result.name, *paths)
        worst = format_worst(result, num_worst)
        if worst:
            print(f'The worst of {result.name}:\n\n{worst}\n')
    print(format_table([(result.name, result.scores) for result in results]), flush=True)
