"""Models of the papers as graph functions, free of files, flags and sessions."""

from collections.abc import Callable
from typing import Any, NamedTuple

from models.config import ModelConfig


class Model(NamedTuple):
    """Interface of a model.

    Attributes:
      family: ctc or attention; outputs and decoders are the same within a family.
      forward: forward(features `[batch, time, features]`, lengths `[batch]`, config, phase) -> the model's output.
      losses: losses(output, labels `[batch, symbols]`, label lengths, config, phase, criterion) -> `[batch]`.
      infer: infer(output, config, seconds between output frames, get_decoder) -> (greedy_tensors, search_tensors);
        `get_decoder()` is called when the graph runs and returns the external decoder.
      time_stride: input frames per output frame.
      frames_per_symbol: least number of input frames per symbol; 0 where every transcript fits.
      loss_unit: unit of the losses.
    """

    family: str
    forward: Callable
    losses: Callable
    infer: Callable
    time_stride: int
    frames_per_symbol: int
    loss_unit: str


class Criterion(NamedTuple):
    """Training criterion. CTC models take the smoothing of CTC from it, attention models all of it.

    Attributes:
      smoothing: label smoothing: none, unigram or neighborhood.
      symbol_frequencies: `[classes]`, relative frequencies in the training transcripts, `<eos>` included; for unigram
        smoothing.
      sample_prob: probability of scheduled sampling.
      ctc_smoothing: weight of the smoothing of CTC; see `models.ctc.smoothed_losses`.
      ctc_weight: share of the CTC head in the loss; None: that of the configuration.
    """

    smoothing: str = 'none'
    symbol_frequencies: tuple[float, ...] = ()
    sample_prob: float = 0.0
    ctc_smoothing: float = 0.0
    ctc_weight: Any = None


def get(config: ModelConfig) -> Model:
    """Returns the model that a configuration names."""
    from models import convolution, ctc, deepspeech1, deepspeech2, las, las_inference

    if config.model == 'las':
        infer = las_inference.infer
        return Model('attention', las.forward, las.losses, infer, las.TIME_STRIDE, 0, 'nats / symbol')
    strides = {'ds1': (deepspeech1, config.frame_stride), 'ds2': (deepspeech2, convolution.TIME_STRIDE)}
    module, stride = strides[config.model]
    return Model('ctc', module.forward, ctc.losses, ctc.infer, stride, stride, 'nats / utterance')
