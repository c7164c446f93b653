"""A trained model at work: one session over the inference graph, for validation, testing and transcribing alike."""

import argparse
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from utils.data.batching import BatchSize, cut
from utils.data.features import FeatureSpec
from utils.data.index import Index
from utils.data.loader import Loader, pad
from utils.data.statistics import FeatureStatistics
from utils.data.transcripts import fitting_rows, references
from utils.data.vocabulary import VOCABULARY_NAME, Vocabulary
from utils.decode import attention_beam, ctc
from utils.decode.decoder import make_decoder, make_spelling_decoder
from utils.decode.hypothesis import Hypothesis
from utils.decode.options import refuse_spelling_flags
from utils.errors import UsageError
from utils.metrics import score
from utils.recognition.report import Evaluation
from utils.run_directory import RunConfig
from utils.system import import_tensorflow

if TYPE_CHECKING:
    import tensorflow.compat.v1 as tf

    from utils.data.pipeline import Batch


class Inference(NamedTuple):
    """What the inference graph offers.

    Attributes:
      losses: `[batch]`.
      greedy: tensors from which greedy decoding makes hypotheses.
      search: those for the decoder.
    """

    losses: 'tf.Tensor'
    greedy: 'tuple[tf.Tensor, ...]'
    search: 'tuple[tf.Tensor, ...]'


class Recognizer:
    """Features to text.

    Attributes:
      vocabulary, spec, config, statistics: of the run.
      secs_per_frame: seconds between output frames.
      decoder: from the values of `Inference.search` to a hypothesis each; None is greedy.
      on_posteriors: where a CTC model has a decoder, given the rows of each batch, its log posteriors and lengths.
    """

    def __init__(
        self,
        infer: 'Callable[[Batch, Callable], Inference]',
        greedy: Callable[..., list[Hypothesis]],
        config,
        vocabulary: Vocabulary,
        statistics: FeatureStatistics,
        spec,
        time_stride: int,
        frames_per_symbol: int,
        session_config: 'tf.ConfigProto | None' = None,
    ):
        """Builds the graph and opens a session; `restore` gives it weights.

        Args:
          infer: builds the inference graph for a batch; it may ask its second argument for the decoder.
          greedy: from the values of `Inference.greedy` to a hypothesis each.
          config: the run's `ModelConfig`.
          vocabulary: of the run.
          statistics: of the run's training features.
          spec: how features are made from audio.
          time_stride: input frames an output frame.
          frames_per_symbol: those that a symbol needs at least, 0 where any transcript fits.
          session_config: of the session.
        """
        import tensorflow.compat.v1 as tf

        from utils.data.pipeline import Pipeline

        self.vocabulary, self.spec, self.config = vocabulary, spec, config
        self.decoder: Callable | None = None
        self.on_posteriors: Callable | None = None
        self.secs_per_frame = time_stride * spec.winstep_secs
        self.statistics, self._greedy = statistics, greedy
        self._time_stride, self._frames_per_symbol = time_stride, frames_per_symbol
        with tf.Graph().as_default() as graph:
            self._pipeline = Pipeline(lambda rows, _: self._load(rows), config.features)
            self._inference = infer(self._pipeline.batch, lambda: self.decoder)
            self._saver = tf.train.Saver(tf.global_variables())
        self._session = tf.Session(graph=graph, config=session_config)

    def restore(self, checkpoint_path: str) -> None:
        """Takes the weights of a checkpoint."""
        with self._session.graph.as_default():
            self._saver.restore(self._session, checkpoint_path)

    def recognize(self, features: Sequence[np.ndarray], batch_size: int) -> list[Hypothesis]:
        """Decodes features `[frames, features]`, not normalised, each; the order is kept."""
        normalised = [self.statistics.normalise(utterance) for utterance in features]

        def load(rows):
            no_labels = np.zeros([len(rows), 1], np.int32), np.zeros(len(rows), np.int32)
            return *pad([normalised[row] for row in rows], np.float32), *no_labels, np.asarray(rows, np.int32)

        hypotheses, _ = self._run(load, np.array([len(utterance) for utterance in features]), batch_size, False)
        return hypotheses

    def evaluate(self, index: Index, batch_size: int) -> Evaluation:
        """Recognises and scores an index.

        Raises:
          DataError: a transcript with a character outside the vocabulary, a missing or unsuitable feature file.
        """
        transcripts = references(index, self.vocabulary)
        loader = Loader(index, self.vocabulary, self.statistics)
        hypotheses, losses = self._run(lambda rows: loader.batch(rows, 0), index.frames, batch_size, True)
        texts = [self.vocabulary.decode(hypothesis.ids) for hypothesis in hypotheses]
        # a transcript that does not fit its frames has no CTC loss; its errors count all the same
        fits = fitting_rows(index, self.vocabulary, self._frames_per_symbol)
        loss = float(np.mean(losses[fits])) if fits.any() else math.nan
        return Evaluation(hypotheses, transcripts, texts, loss, score(transcripts, texts, self.vocabulary.has_words))

    def attention(self, index: Index, batch_size: int) -> list[tuple[list[int], np.ndarray]]:
        """What a model with attention spells greedily: for each utterance the symbols and `[symbols, frames]`."""
        loader, frames = Loader(index, self.vocabulary, self.statistics), -(-index.frames // self._time_stride)

        def keep(ids, log_probs, lengths, end_log_probs, weights):
            return [(row[:n].tolist(), seen[:n]) for row, seen, n in zip(ids, weights, lengths, strict=True)]

        spelled, _ = self._run(lambda rows: loader.batch(rows, 0), index.frames, batch_size, False, keep)
        return [(ids, weights[:, :n]) for (ids, weights), n in zip(spelled, frames, strict=True)]

    def _run(self, load, frames: np.ndarray, batch_size: int, with_loss: bool, decode: Callable | None = None):
        """Runs batches of like length, the longest first; hypotheses and losses in the order of the rows.

        `decode` takes the place of greedy decoding and of the decoder.
        """
        from tensorflow.errors import OpError

        self._load = load
        batches = cut(np.argsort(-frames, kind='stable'), frames, BatchSize(batch_size))
        hypotheses, losses = [None] * len(frames), np.zeros(len(frames))
        self._pipeline.start(self._session, batches, 0)
        graph, searches = self._inference, self.decoder and not decode
        wanted, decode = graph.search if searches else graph.greedy, decode or self.decoder or self._greedy
        for rows in batches:
            try:
                *outputs, batch_losses = self._session.run([*wanted, graph.losses if with_loss else ()])
            except OpError as error:
                raise self._pipeline.explain(error) from None
            if with_loss:
                losses[rows] = batch_losses
            if searches and self.on_posteriors:
                self.on_posteriors(rows, *outputs)
            for row, hypothesis in zip(rows, decode(*outputs), strict=True):
                hypotheses[row] = hypothesis
        return hypotheses, losses


def load_recognizer(run_dir: str, checkpoint: str = 'best', session_config=None):
    """A recogniser with the weights of a run's `best`, `latest` or `average` checkpoint; None leaves it without."""
    import_tensorflow()

    import models
    from models.layers import Phase
    from utils.train.checkpoint import Checkpoints
    from utils.train.strategies import local_runtime

    config = RunConfig.load(run_dir)
    model = models.get(config.model.model)

    def infer(batch, decoder):
        output = model.forward(batch.features, batch.feature_lengths, config.model, Phase())
        losses = model.losses(output, batch.labels, batch.label_lengths, config.model, Phase(), models.Criterion())
        return Inference(losses, *model.infer(output, config.model, decoder))

    def greedy(*outputs):
        if config.model.model == 'las':
            return attention_beam.greedy(*outputs)
        return ctc.greedy(*outputs, blank_id=config.model.classes - 1)

    checkpoints = Checkpoints(run_dir)
    path = checkpoints.prefix(checkpoints.resolve(checkpoint)) if checkpoint else None
    recognizer = Recognizer(
        infer,
        greedy,
        config.model,
        Vocabulary.read(str(Path(run_dir) / VOCABULARY_NAME)),
        FeatureStatistics.load(run_dir),
        FeatureSpec.parse(config.feature_spec),
        model.time_stride,
        model.frames_per_symbol,
        session_config or local_runtime().session_config,
    )
    if path:
        recognizer.restore(path)
    return recognizer


def spells(args: argparse.Namespace) -> bool:
    """Whether the run's model is las.

    Raises:
      UsageError: a flag that is for the other models.
    """
    if RunConfig.load(args.savepath).model.model != 'las':
        refuse_spelling_flags(args)
        return False
    for name in ('save_posteriors', 'posteriors'):
        if getattr(args, name, None):
            raise UsageError(f'--{name} is for ds1 and ds2: las has no posteriors apart from a text; leave it out')
    return True


def recognizer_decoder(
    args: argparse.Namespace, decoding, recognizer, from_posteriors: bool = False
) -> Callable | None:
    """The decoder that suits a recogniser's model; None is greedy."""
    config, tokens = recognizer.config, recognizer.vocabulary.tokens
    if config.model == 'las':
        return make_spelling_decoder(args, decoding, tokens, bool(config.ctc_weight))
    return make_decoder(decoding, tokens, from_posteriors)
