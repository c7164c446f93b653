"""Pictures of where a speller listened, for some dev utterances after every validation."""

from pathlib import Path

import numpy as np

from utils.data.index import Index
from utils.plots import draw_attention
from utils.recognition.recognizer import Recognizer

DIRECTORY = 'attention'


class AttentionImages:
    """Draws RUN/attention/UTTERANCE-CHECKPOINT.png for dev utterances from the shortest to the longest, evenly spaced.

    Args:
      recognizer: of a model with attention.
      index: the dev utterances.
      count: how many of them.
      run_dir: where the pictures go.
    """

    def __init__(self, recognizer: Recognizer, index: Index, count: int, run_dir: str):
        ranks = np.linspace(0, len(index) - 1, count + 2)[1:-1].round().astype(int)
        rows = np.unique(np.argsort(index.frames, kind='stable')[ranks])
        self._recognizer, self._index, self._directory = recognizer, index.take(rows), Path(run_dir) / DIRECTORY

    def draw(self, checkpoint: str) -> dict[str, Path]:
        """Draws with the recogniser's present weights; the files by utterance."""
        drawn, recognizer = {}, self._recognizer
        for key, (ids, weights) in zip(
            self._index.keys, recognizer.attention(self._index, len(self._index)), strict=True
        ):
            name = Path(key).stem
            drawn[name] = self._directory / f'{name}-{checkpoint}.png'
            symbols = [recognizer.vocabulary.tokens[symbol] for symbol in ids]
            draw_attention(weights, symbols, recognizer.secs_per_frame, drawn[name])
        return drawn
