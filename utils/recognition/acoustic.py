"""The acoustic model run over an index, its posteriors kept in a file."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from utils.data.index import Index
from utils.recognition.posteriors import PosteriorsInfo, writing_posteriors
from utils.recognition.recognizer import Recognizer
from utils.train.checkpoint import Checkpoints

log = logging.getLogger(__name__)


@contextmanager
def saving_posteriors(
    recognizer: Recognizer, run_dir: str, checkpoint: str, index: Index, path: Path
) -> Iterator[None]:
    """Writes the posteriors of an evaluation of ``index`` that happens within.

    Args:
      recognizer: with the checkpoint's weights, and a decoder that takes posteriors.
      run_dir: its run.
      checkpoint: best, latest or average.
      index: what will be evaluated.
      path: the file.
    """
    info = PosteriorsInfo(
        run=run_dir,
        checkpoint=checkpoint,
        weights=Checkpoints(run_dir).resolve(checkpoint),
        index=' '.join(index.index_paths),
        tokens=tuple(recognizer.vocabulary.tokens),
        secs_per_frame=recognizer.secs_per_frame,
        keys=tuple(index.keys),
    )
    with writing_posteriors(path) as writer:
        recognizer.on_posteriors = writer.add
        try:
            yield
        finally:
            recognizer.on_posteriors = None
        writer.finish(info)
    log.info('posteriors of %s in %s', info.weights, path)
