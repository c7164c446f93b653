"""Alignment of recordings with their known transcripts: word and symbol times, and how well the transcript fits."""

import logging
import textwrap
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from utils.audio.reader import SAMPLE_RATE, read_blocks
from utils.data.alphabet import TranscriptNormaliser
from utils.data.features import FeatureSpec, extract
from utils.data.index import Index
from utils.data.transcripts import frames_needed, usable_rows
from utils.data.vocabulary import Vocabulary
from utils.decode.forced_alignment import ForcedAlignment, force_alignment
from utils.decode.hypothesis import Hypothesis, Word, confidence, words
from utils.errors import DataError
from utils.files import BYTE_ORDER_MARK
from utils.recognition.transcribe import Transcript

if TYPE_CHECKING:
    from utils.recognition.recognizer import Recognizer

log = logging.getLogger(__name__)

CORE_SECS, CONTEXT_SECS = 20.0, 4.0
UTTERANCES_AT_ONCE = 64
LISTED = 10


class PosteriorKeeper:
    """A decoder that returns log-posteriors `[frames, classes]`: those of a CTC model, or of the CTC head of las.

    Attributes:
      frames_per_output: frames of the posteriors per output frame of the recognizer, 1 for CTC models.
    """

    def __init__(self) -> None:
        self.frames_per_output = 1
        self._batch: list[np.ndarray] = []

    def decode(self, log_probs: np.ndarray, lengths: np.ndarray) -> list[np.ndarray]:
        """Posteriors of a batch, `[batch, frames, classes]` and the frames of each."""
        return [each[:length].copy() for each, length in zip(log_probs, lengths, strict=True)]

    def begin(self, _: np.ndarray, posteriors: np.ndarray, ctc_frames: np.ndarray, frames: np.ndarray) -> np.int32:
        """The first call of a beam search of las, in `models.las_inference.search`; no search follows."""
        self._batch = self.decode(posteriors, ctc_frames)
        self.frames_per_output = int(ctc_frames[0] // frames[0])
        return np.int32(1)

    def advance(self, logits: np.ndarray, _: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.bool_]:
        """Ends the search at its first step."""
        return np.arange(len(logits), dtype=np.int32), np.zeros(len(logits), np.int32), np.bool_(True)

    def results(self) -> list[np.ndarray]:
        """Posteriors of the batch that `begin` got."""
        return self._batch


@dataclass(frozen=True)
class Aligned(Transcript):
    """A transcript with its alignment.

    Attributes:
      score: log-likelihood ratio per symbol, in nats: log-probability of the best path of the text, minus that of the
        best path of any text. 0: the text is the one of greedy decoding; a wrong transcript has a low score. Noise and
        pauses lower both paths alike, unlike the mean log-probability of a frame (as in the goodness of pronunciation,
        Witt and Young 2000).
    """

    score: float = 0.0

    def to_json(self) -> dict[str, Any]:
        """A dictionary for ``json.dumps``: the transcript's, with score and symbols."""
        symbols = replace(self, words=self.symbols, symbols=())
        described = [{'symbol': each.pop('word'), **each} for each in Transcript.to_json(symbols)['words']]
        return Transcript.to_json(self) | {'score': round(self.score, 4), 'symbols': described}


def check_has_ctc(run_path: str, model: Any) -> None:
    """Refuses las without a CTC head."""
    if model.model == 'las' and not model.ctc_weight:
        raise DataError(f'{run_path}: las of --ctc_weight 0 has no CTC head, which aligns; name another run')


def read_text(path: str, vocabulary: Vocabulary) -> str:
    """The transcript in a UTF-8 file, in the units of a vocabulary; punctuation that it lacks is dropped.

    Raises:
      DataError: not UTF-8, no text, or units outside the vocabulary.
    """
    try:
        text = Path(path).read_bytes().removeprefix(BYTE_ORDER_MARK).decode('utf-8')
    except UnicodeDecodeError:
        raise DataError(f'{path}: not UTF-8 text; convert it') from None
    text = ('' if not vocabulary.has_words else ' ').join(text.split())
    if vocabulary.unknown(text):
        normaliser = TranscriptNormaliser('keep', 'drop')
        text = normaliser(text)
        text = text if vocabulary.has_words else ''.join(text.split())
        if normaliser.dropped:
            dropped = ' '.join(f'{character} {count}' for character, count in normaliser.dropped.most_common(LISTED))
            log.info('%s: dropped: %s', path, dropped)
    text = vocabulary.normalise(text)
    if unknown := vocabulary.unknown(text):
        units = ' '.join(each if each.isprintable() else ascii(each) for each in unknown[:LISTED])
        more = f' and {len(unknown) - LISTED} more' if len(unknown) > LISTED else ''
        raise DataError(f'{path}: not in the vocabulary of the run: {units}{more}; spell them as in its transcripts')
    if not text:
        raise DataError(f'{path}: no text in it; give the transcript of the recording')
    return text


def align_recording(audio: str, text: str, recognizer: 'Recognizer', keeper: PosteriorKeeper) -> Aligned:
    """Aligns a recording of any length with its whole transcript.

    Args:
      audio: path of the recording.
      text: transcript, as `read_text` returns it.
      recognizer: trained model whose decoder is the keeper.
      keeper: see `PosteriorKeeper`.

    Raises:
      DataError: the recording cannot be read, or is too short for the text.
    """
    ids = recognizer.vocabulary.encode(text)
    classes = sorted(set(ids))  # other columns are not kept: an hour with 3,000 classes would take gigabytes
    columns = np.array([*classes, recognizer.config.classes - 1])
    kept, best, warnings = list[np.ndarray](), 0.0, list[str]()
    blocks = _Counted(read_blocks(audio, warnings))
    unit = round(recognizer.secs_per_frame * SAMPLE_RATE)
    core, context = (max(1, round(secs * SAMPLE_RATE / unit)) * unit for secs in (CORE_SECS, CONTEXT_SECS))
    for before, length, samples in overlapping(blocks, core, context):
        pieces: list[Any] = recognizer.recognize([_features(audio, samples, recognizer.spec)], 1)
        log_probs = pieces[0]
        log_probs = log_probs[before // unit * keeper.frames_per_output :]
        log_probs = log_probs if length is None else log_probs[: length // unit * keeper.frames_per_output]
        best += float(log_probs.max(axis=1).sum(dtype=np.float64))
        kept.append(log_probs[:, columns])
    for warning in warnings:
        log.warning('%s: %s', audio, warning)
    posteriors = np.concatenate(kept)
    symbols = np.searchsorted(classes, ids)
    alignment = force_alignment(posteriors, symbols, len(classes))
    if alignment is None:
        raise DataError(
            f'{audio}: its {len(posteriors)} frames are too few for the {frames_needed(ids)} that the text needs; '
            'check that it is the transcript of this recording'
        )
    return _aligned(audio, text, ids, alignment, best, blocks.num_samples / SAMPLE_RATE, recognizer, keeper)


class _Counted:
    """Blocks of samples, counted as they pass."""

    def __init__(self, blocks: Iterable[np.ndarray]):
        self._blocks, self.num_samples = blocks, 0

    def __iter__(self) -> Iterator[np.ndarray]:
        for block in self._blocks:
            self.num_samples += len(block)
            yield block


def _features(audio: str, samples: np.ndarray, spec: FeatureSpec) -> np.ndarray:
    try:
        return extract(samples, spec)
    except DataError as error:
        raise DataError(f'{audio}: {error}') from None


def overlapping(
    blocks: Iterable[np.ndarray], core: int, context: int
) -> Iterator[tuple[int, int | None, np.ndarray]]:
    """Cuts a recording into pieces that overlap, so that a recurrent network has context on either side.

    Args:
      blocks: the recording, float `[samples]` each.
      core: samples of a piece that no other one covers.
      context: samples before and after the core, at most as many.

    Yields:
      (samples of context before the core, samples of the core, all samples); the last core, to the end of the
      recording, is None. Recordings shorter than a core and two contexts are one piece.
    """
    samples, before = np.zeros(0, np.float32), 0
    for block in blocks:
        samples = np.concatenate([samples, block])
        while len(samples) >= before + core + 2 * context:
            yield before, core, samples[: before + core + context]
            samples, before = samples[before + core - context :], context
    yield before, None, samples


def align_index(index: Index, recognizer: 'Recognizer', keeper: PosteriorKeeper, batch_size: int) -> list[Aligned]:
    """Aligns the utterances of an index; those whose transcripts fit worst come first.

    What does not fit its frames is named and counted in the log.

    Raises:
      DataError: a transcript has units outside the vocabulary, or features are missing or of another kind.
    """
    vocabulary, found = recognizer.vocabulary, list[Aligned]()
    if str(index.spec) != str(recognizer.spec):
        raise DataError(
            f'{index.index_paths[0]}: features {index.spec}, the run has {recognizer.spec}; preprocess alike'
        )
    rows = usable_rows(index, vocabulary, 1).tolist()
    for first in range(0, len(rows), UTTERANCES_AT_ONCE):
        batch = rows[first : first + UTTERANCES_AT_ONCE]
        features = [index.features(row, recognizer.config.features) for row in batch]
        posteriors: list[Any] = recognizer.recognize(features, batch_size)
        for row, log_probs in zip(batch, posteriors, strict=True):
            ids = vocabulary.encode(index.texts[row])
            alignment = force_alignment(log_probs, ids, recognizer.config.classes - 1)
            if alignment is None:
                log.warning('left out: %s: its text does not fit its %d frames', index.where(row), len(log_probs))
                continue
            best, name = float(log_probs.max(axis=1).sum(dtype=np.float64)), index.keys[row]
            text, duration = vocabulary.spell(index.texts[row]), float(index.durations[row])
            found.append(_aligned(name, text, ids, alignment, best, duration, recognizer, keeper))
    if len(found) < len(index):
        log.warning('%s: %d of %d utterances left out', index.index_paths[0], len(index) - len(found), len(index))
    return sorted(found, key=lambda each: each.score)


def _aligned(
    file: str, text: str, ids: Sequence[int], alignment: ForcedAlignment, best: float, duration: float,
    recognizer: 'Recognizer', keeper: PosteriorKeeper,
) -> Aligned:  # fmt: skip
    """Words, symbols and scores of an alignment; `best` is the log-probability of the best path of any text."""
    vocabulary, secs = recognizer.vocabulary, recognizer.secs_per_frame / keeper.frames_per_output
    hypothesis = Hypothesis(tuple(ids), alignment.log_prob, alignment.spans)
    space_id = vocabulary.tokens.index(' ') if vocabulary.has_space else None

    def clipped(found: Iterable[Word]) -> tuple[Word, ...]:
        return tuple(replace(each, start=min(each.start, duration), end=min(each.end, duration)) for each in found)

    of_text = clipped(words(hypothesis, vocabulary.tokens, space_id, secs))
    symbols = clipped(each for each in words(hypothesis, vocabulary.tokens, None, secs) if each.word != ' ')
    score = min(0.0, alignment.log_prob - best) / max(1, len(ids))
    return Aligned(file, text, duration, confidence(alignment.spans), of_text, symbols, score)


def report_worst(found: Sequence[Aligned]) -> None:
    """Lists in the log the utterances, sorted by score, whose transcripts fit worst."""
    for each in found[:LISTED]:
        log.info('score %.2f: %s: %s', each.score, each.file, textwrap.shorten(each.text, 100, placeholder=' ...'))
