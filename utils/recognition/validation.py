"""What dev says of a checkpoint."""

from pathlib import Path

from utils.data.index import Index
from utils.decode.hypothesis import repeats_itself
from utils.recognition.attention_images import AttentionImages
from utils.recognition.recognizer import Recognizer


class Validation:
    """Scores checkpoints on the dev utterances, decoded greedily.

    Args:
      recognizer: takes the checkpoints' weights.
      index: the dev utterances.
      batch_size: utterances at once.
      num_images: utterances whose attention is drawn; 0 for a model without.
      run_dir: where the pictures go.
    """

    def __init__(self, recognizer: Recognizer, index: Index, batch_size: int, num_images: int, run_dir: str):
        self._recognizer, self._index, self._batch_size = recognizer, index, batch_size
        self._images = AttentionImages(recognizer, index, num_images, run_dir) if num_images else None

    def __call__(self, checkpoint_path: str) -> dict:
        """What the trainer wants to know of a checkpoint, see `graph.TrainingTask.validate`."""
        self._recognizer.restore(checkpoint_path)
        evaluation = self._recognizer.evaluate(self._index, self._batch_size)
        scores = evaluation.scores
        found = {
            'error': scores.leading.rate,
            'dev_loss': evaluation.loss,
            'wer': scores.words.rate,
            'cer': scores.characters.rate,
        }
        if self._recognizer.config.model == 'las':
            found['repeating'] = sum(repeats_itself(each.ids) for each in evaluation.hypotheses)
        if self._images:
            found['images'] = self._images.draw(Path(checkpoint_path).name)
        return found
