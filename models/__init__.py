"""The papers' models as graph functions; nothing here knows of files, flags or sessions."""

from collections.abc import Callable
from typing import NamedTuple


class Model(NamedTuple):
    """What the toolkit asks of a model.

    Attributes:
      forward: from (features `[batch, time, features]`, lengths `[batch]`, config, phase) to the model's own output.
      losses: from (output, labels `[batch, symbols]`, label lengths, config, phase, criterion) to `[batch]`.
      infer: from (output, config, a function that returns the decoder) to two tuples of tensors: for greedy decoding,
        and for the decoder.
      time_stride: input frames an output frame.
      frames_per_symbol: input frames that each symbol needs at least; 0 where any transcript fits.
      loss_unit: of the losses.
    """

    forward: Callable
    losses: Callable
    infer: Callable
    time_stride: int
    frames_per_symbol: int
    loss_unit: str


class Criterion(NamedTuple):
    """What a transcript costs in training, for a model that spells.

    Attributes:
      smoothing: none, unigram or neighborhood.
      symbol_frequencies: `[classes]`, of the training transcripts with their ends, for unigram smoothing.
      sample_prob: of scheduled sampling.
    """

    smoothing: str = 'none'
    symbol_frequencies: tuple[float, ...] = ()
    sample_prob: float = 0.0


def get(name: str) -> Model:
    """The model called ds1, ds2 or las."""
    from models import convolution, ctc, deepspeech1, deepspeech2, las, las_inference

    if name == 'las':
        return Model(las.forward, las.losses, las_inference.infer, las.TIME_STRIDE, 0, 'nats / symbol')
    module, stride = {'ds1': (deepspeech1, 1), 'ds2': (deepspeech2, convolution.TIME_STRIDE)}[name]
    return Model(module.forward, ctc.losses, ctc.infer, stride, stride, 'nats / utterance')
