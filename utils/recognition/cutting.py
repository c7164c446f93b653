"""Cutting an aligned recording into utterances: FLAC files, and a manifest that manifest_preprocess.py reads."""

import json
import logging
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import soundfile

from utils.audio.reader import SAMPLE_RATE, read_blocks
from utils.decode.hypothesis import Word
from utils.errors import DataError
from utils.files import replacing, write_text
from utils.recognition.alignment import LISTED, Aligned
from utils.recognition.formats import stem

log = logging.getLogger(__name__)

MARGIN_SECS = 0.5  # of a pause, kept on either side


class Cut(NamedTuple):
    """An utterance of a recording: its first sample, the one after its last, and its words."""

    start: int
    end: int
    words: tuple[Word, ...]

    def confidence(self) -> float:
        """Geometric mean of the confidences of the words, each as often as it has letters."""
        letters = [len(word.word) for word in self.words]
        logs = [np.log(max(word.confidence, 1e-30)) for word in self.words]
        return float(np.exp(np.average(logs, weights=letters)))


def find_cuts(words: Sequence[Word], duration: float, longest_secs: float) -> list[Cut]:
    """Cuts a recording in the pauses between words, until each utterance has at most ``longest_secs``.

    Each cut is at the widest pause in the middle half of what is too long, half-way between the words; longer pauses
    leave 0.5 s on either side. Only a single word may be longer.
    """
    pending, cuts = [(0, len(words))] if words else [], list[Cut]()
    while pending:
        first, last = pending.pop()
        before = words[first - 1].end if first else 0.0
        after = words[last].start if last < len(words) else duration
        start = max(words[first].start - MARGIN_SECS, (before + words[first].start) / 2 if first else 0.0)
        end = min(words[last - 1].end + MARGIN_SECS, (words[last - 1].end + after) / 2 if last < len(words) else after)
        if end - start <= longest_secs or last - first == 1:
            cuts.append(Cut(round(start * SAMPLE_RATE), round(end * SAMPLE_RATE), tuple(words[first:last])))
            continue
        middle, quarter = (words[first].start + words[last - 1].end) / 2, (end - start) / 4
        gaps = range(first + 1, last)
        near = [i for i in gaps if abs(words[i].start - middle) <= quarter] or list(gaps)
        cut = max(near, key=lambda i: (words[i].start - words[i - 1].end, -abs(words[i].start - middle)))
        pending += [(cut, last), (first, cut)]
    return cuts


def write_cuts(audio: str, aligned: Aligned, out_dir: str, longest_secs: float, separator: str) -> Path:
    """Writes the utterances of a recording and their manifest, whose last line is written after all of them.

    Single words that are longer than the limit are named and left out. The utterances with the least confidence, whose
    transcripts may be wrong, are listed in the log.

    Returns:
      Path of the manifest, JSON Lines: audio_filepath, duration, text, confidence.

    Raises:
      DataError: all words are longer than the limit.
    """
    cuts = find_cuts(aligned.words, aligned.duration, longest_secs)
    kept = [cut for cut in cuts if cut.end - cut.start <= longest_secs * SAMPLE_RATE + 1]
    for cut in cuts:
        if cut not in kept:
            where = f'{audio}: {cut.words[0].word!r} at {cut.start / SAMPLE_RATE:.2f} s'
            log.warning('left out: %s takes %.1f s', where, (cut.end - cut.start) / SAMPLE_RATE)
    if not kept:
        raise DataError(f'{audio}: no word is shorter than {longest_secs:g} s; check its transcript')
    folder, name, lines = Path(out_dir), stem(audio), list[str]()
    folder.mkdir(parents=True, exist_ok=True)
    for number, (cut, samples) in enumerate(zip(kept, _slices(audio, kept), strict=True), 1):
        path = folder / f'{name}-{number:04}.flac'
        with replacing(path) as temporary_path:
            soundfile.write(temporary_path, samples, SAMPLE_RATE, 'PCM_16', format='FLAC')
        row = {
            'audio_filepath': path.name,
            'duration': round(len(samples) / SAMPLE_RATE, 3),
            'text': separator.join(word.word for word in cut.words),
            'confidence': round(cut.confidence(), 4),
        }
        lines.append(json.dumps(row, ensure_ascii=False) + '\n')
    manifest = folder / f'{name}.jsonl'
    write_text(manifest, ''.join(lines))
    for number, cut in sorted(enumerate(kept, 1), key=lambda pair: pair[1].confidence())[:LISTED]:
        text = separator.join(word.word for word in cut.words)
        log.info('confidence %.3f: %s-%04d: %s', cut.confidence(), name, number, text)
    return manifest


def _slices(audio: str, cuts: Sequence[Cut]) -> Iterator[np.ndarray]:
    """Samples of each utterance, of which memory holds one and a block."""
    samples, first = np.zeros(0, np.float32), 0
    blocks = read_blocks(audio)
    for cut in cuts:
        while first + len(samples) < cut.end and (block := next(blocks, None)) is not None:
            skipped = min(max(cut.start - first, 0), len(samples))
            samples, first = np.concatenate([samples[skipped:], block]), first + skipped
        yield np.clip(samples[cut.start - first : cut.end - first], -1, 1)
