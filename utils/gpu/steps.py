"""Training steps of fixed models and shapes, to be timed: cases A, B and C of the benchmarks, and the default model."""

import itertools
from typing import NamedTuple

SUMMARY_STEPS = 100
MAX_STEPS = 10_000
FEATURES = 81


class Case(NamedTuple):
    """A model and the shape of its batches; `model_fields` are those of `models.config.ModelConfig`."""

    model_fields: dict
    batch: int
    frames: int
    symbols: int


DS2 = {'model': 'ds2', 'rnn_cell': 'gru', 'conv_layers': 2, 'activation': 'tanh'}
LAS = {
    'model': 'las',
    'rnn_cell': 'lstm',
    'conv_layers': 0,
    'activation': 'tanh',
    'batch_norm': False,
    'speller_layers': 2,
}
CASES = {
    'A': Case({**DS2, 'rnn_layers': 5, 'hidden_units': 512}, 16, 600, 80),
    'B': Case({**DS2, 'rnn_layers': 2, 'hidden_units': 256}, 16, 200, 20),
    'C': Case({**LAS, 'rnn_layers': 4, 'hidden_units': 256}, 16, 600, 80),
}
DEFAULT = Case({'model': 'ds2'}, 32, 1200, 180)  # 12 s an utterance, as in LibriSpeech


def batch_of(case, features):
    """A batch as the pipeline gives it, of utterances between 85 % of the longest and all of it."""
    import numpy as np

    rng = np.random.default_rng(0)
    lengths = np.sort(np.append(rng.integers(int(case.frames * 0.85), case.frames, case.batch - 1), case.frames))
    values = rng.normal(size=[case.batch, case.frames, features]).astype(np.float32)
    labels = rng.integers(1, 27, [case.batch, case.symbols]).astype(np.int32)
    label_lengths = np.sort(rng.integers(int(case.symbols * 0.85), case.symbols + 1, case.batch)).astype(np.int32)
    return values, lengths.astype(np.int32), labels, label_lengths, np.arange(case.batch, dtype=np.int32)


class TrainingStep:
    """A training step as the trainer takes it, its pipeline and summaries included; each call makes one."""

    def __init__(self, case: Case, arrays: tuple, log_dir: str, dtype: str = 'float32', recurrence: str = 'loop'):
        """Builds the graph and opens its session.

        Args:
          case: the model.
          arrays: a batch, see `batch_of`.
          log_dir: directory for summaries; empty: none are written.
          dtype: type of the large matrix products.
          recurrence: form of the recurrent layers.
        """
        from models.config import ModelConfig
        from utils.config import TrainConfig
        from utils.data.pipeline import Pipeline
        from utils.run_directory import RunConfig
        from utils.train.graph import TrainGraph, TrainingTask
        from utils.train.history import Summaries
        from utils.train.strategies import local_runtime
        from utils.training import training_loss

        model_config = ModelConfig(**case.model_fields)
        config = RunConfig(model_config, TrainConfig(dtype=dtype), '')
        task = TrainingTask(
            loss_fn=training_loss(config, recurrence=recurrence),
            make_pipeline=lambda: Pipeline(lambda rows, epoch: arrays, model_config.features),
            plan=lambda epoch: [],
            frames=arrays[1],
            name_row=str,
            validate=lambda path: {},
        )
        self._graph = TrainGraph(task, config.train, local_runtime())
        self._graph.open(None)
        self._graph.start([arrays[-1]] * MAX_STEPS, 0)
        self._summaries, self._count = Summaries(log_dir, bool(log_dir), 0), itertools.count(1)

    def __call__(self) -> None:
        result, step = self._graph.run_step(1e-4), next(self._count)
        if step % SUMMARY_STEPS == 0:
            norm = float(result.grad_norm)
            self._summaries.add(step, train__loss=float(result.losses.mean()), train__gradient_norm=norm)

    def close(self) -> None:
        """Closes the session."""
        self._graph.session.close()
