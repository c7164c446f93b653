"""Scores checkpoints on the dev set, all together and each index, and draws the attention of some utterances."""

import logging
import math
from pathlib import Path
from typing import Any

import numpy as np

from utils.data.index import Index
from utils.decode.hypothesis import repeats_itself
from utils.metrics import score
from utils.plots import draw_attention
from utils.recognition.recognizer import Recognizer
from utils.recognition.report import Evaluation, index_names

log = logging.getLogger(__name__)

IMAGES_DIRECTORY = 'attention'


class Validation:
    """Scores checkpoints with greedy decoding on dev utterances whose transcripts are encoded once.

    Args:
      recognizer: greedy recognizer, into which the weights of each checkpoint are loaded.
      index: dev utterances.
      batch_size: utterances per batch.
      num_images: utterances whose attention is drawn, from the shortest to the longest, evenly spaced; 0 for a model
        without attention.
      run_dir: run directory; RUN_DIR/attention/UTTERANCE-CHECKPOINT.png are the images.

    Raises:
      DataError: transcripts in another alphabet than the vocabulary's.
    """

    def __init__(self, recognizer: Recognizer, index: Index, batch_size: int, num_images: int, run_dir: str):
        self._recognizer, self._batch_size = recognizer, batch_size
        self._references = recognizer.prepare(index)
        ranks = np.linspace(0, len(index) - 1, num_images + 2)[1:-1].round().astype(int)
        if recognizer.config.family == 'attention':  # a beam takes many times as long
            log.info('the best checkpoint is chosen on dev by greedy decoding; run_test.py decodes with a beam')
        names = index_names(index.index_paths)
        self._parts = {name: np.flatnonzero(index.origins[:, 0] == number) for number, name in enumerate(names)}
        self._drawn = index.take(np.unique(np.argsort(index.frames, kind='stable')[ranks])) if num_images else None
        self._images_dir = Path(run_dir) / IMAGES_DIRECTORY

    def __call__(self, checkpoint_path: str) -> dict[str, Any]:
        """Scores a checkpoint; see `graph.TrainingTask.validate`."""
        self._recognizer.restore(checkpoint_path)
        evaluation = self._recognizer.evaluate(self._references, self._batch_size)
        scores = evaluation.scores
        found: dict[str, Any] = {
            'error': scores.leading.rate,
            'dev_loss': evaluation.loss,
            'wer': scores.words.rate,
            'cer': scores.characters.rate,
        }
        if not self._references.fits.all():
            found['without_loss'] = int((~self._references.fits).sum())
        if self._recognizer.config.family == 'attention':
            found['repeating'] = sum(repeats_itself(each.ids) for each in evaluation.hypotheses)
        if self._drawn:
            found['images'] = self._draw(self._drawn, Path(checkpoint_path).name)
        if len(self._parts) > 1:
            found['indexes'] = {name: self._score_part(evaluation, rows) for name, rows in self._parts.items()}
        return found

    def _score_part(self, evaluation: Evaluation, rows: np.ndarray) -> dict[str, float]:
        """Loss and error rates over some of the utterances."""
        losses = np.asarray(evaluation.losses)[rows][self._references.fits[rows]]
        references, texts = ([each[row] for row in rows] for each in (evaluation.references, evaluation.texts))
        scores = score(references, texts, self._recognizer.vocabulary.has_words)
        loss = float(np.mean(losses)) if len(losses) else math.inf
        return {'dev_loss': loss, 'wer': scores.words.rate, 'cer': scores.characters.rate}

    def _draw(self, index: Index, checkpoint: str) -> dict[str, Path]:
        """Image files by utterance."""
        paths, recognizer = {}, self._recognizer
        for key, (ids, weights) in zip(index.keys, recognizer.attention(index, len(index)), strict=True):
            name = Path(key).stem
            paths[name] = self._images_dir / f'{name}-{checkpoint}.png'
            symbols = [recognizer.vocabulary.tokens[symbol] for symbol in ids]
            draw_attention(weights, symbols, recognizer.secs_per_frame, paths[name])
        return paths
