"""LAS inference: greedy decoding in the graph, and the loop that drives an external beam search."""

import math
from collections.abc import Callable
from typing import NamedTuple

import tensorflow.compat.v1 as tf

from models.config import ModelConfig
from models.las import Las
from models.listener import CTC_FRAMES

SYMBOLS_PER_SEC, SPARE_SYMBOLS = 25, 10  # more than any speech


class GreedyOutput(NamedTuple):
    """Greedy hypotheses.

    Attributes:
      ids: int32 `[batch, symbols]`, without `<eos>`.
      log_probs: log-probabilities of the symbols, `[batch, symbols]`.
      lengths: int32 `[batch]`, symbols.
      end_log_probs: log-probabilities of `<eos>`, `[batch]`; 0 where the symbol limit was reached first.
      is_cut: bool `[batch]`, whether the symbol limit was reached first.
      weights: attention weights, `[batch, symbols, frames]`.
    """

    ids: tf.Tensor
    log_probs: tf.Tensor
    lengths: tf.Tensor
    end_log_probs: tf.Tensor
    is_cut: tf.Tensor
    weights: tf.Tensor


def symbol_limits(frames: tf.Tensor, secs_per_frame: float) -> tf.Tensor:
    """Largest number of symbols of a hypothesis, given the number of encoder frames; it bounds runaway decoding."""
    return math.ceil(SYMBOLS_PER_SEC * secs_per_frame) * frames + SPARE_SYMBOLS


def greedy(las: Las, config: ModelConfig, secs_per_frame: float) -> GreedyOutput:
    """Takes the most probable symbol at every step, until `<eos>` or the symbol limit of each utterance."""
    speller, end = las.speller, config.classes - 1
    limits = symbol_limits(las.listened.lengths, secs_per_frame)
    batch, most = tf.shape(limits)[0], tf.reduce_max(limits)
    arrays = [tf.TensorArray(dtype, most, infer_shape=False) for dtype in (tf.int32, tf.float32, tf.float32)]

    def body(t, symbols, is_done, state, arrays):
        state = speller.advance(symbols, state)
        log_probs = tf.nn.log_softmax(speller.logits(state))
        symbols = tf.argmax(log_probs, 1, output_type=tf.int32)
        # a row that is done or at its limit continues with <eos>
        symbols = tf.where(is_done | (t >= limits), tf.fill([batch], end), symbols)
        emitted = symbols, tf.reduce_max(log_probs, 1), speller.attended(state)
        arrays = [array.write(t, x) for array, x in zip(arrays, emitted, strict=True)]
        return t + 1, symbols, tf.equal(symbols, end), state, arrays

    loop = [tf.constant(0), tf.fill([batch], end), tf.zeros([batch], tf.bool), speller.start(batch), arrays]
    steps, *_, arrays = tf.while_loop(lambda t, _, is_done, *__: (t < most) & ~tf.reduce_all(is_done), body, loop)
    ids, log_probs, weights = (array.gather(tf.range(steps)) for array in arrays)
    ids, log_probs, weights = tf.transpose(ids), tf.transpose(log_probs), tf.transpose(weights, [1, 0, 2])
    is_end = tf.equal(ids, end)
    lengths = tf.reduce_sum(tf.cast(~is_end, tf.int32), 1)
    is_cut = lengths >= limits
    first_end = is_end & tf.equal(tf.cumsum(tf.cast(is_end, tf.int32), 1), 1) & ~tf.expand_dims(is_cut, 1)
    end_log_probs = tf.reduce_sum(tf.where(first_end, log_probs, tf.zeros_like(log_probs)), 1)
    return GreedyOutput(ids, log_probs, lengths, end_log_probs, is_cut, weights)


def search(
    las: Las, config: ModelConfig, secs_per_frame: float, begin: Callable, advance: Callable, with_ilm: bool = False
) -> tf.Tensor:
    """Runs a beam search whose hypotheses are kept outside the graph and whose model states stay in it.

    Args:
      las: model over the batch.
      config: model configuration.
      secs_per_frame: seconds between encoder frames.
      begin: begin(symbol limits `[batch]`, CTC log-posteriors `[batch, frames, classes]`, with 0 frames without a CTC
        head, their frames `[batch]`, and encoder frames `[batch]`) -> beam width, int32.
      advance: advance(logits `[batch · width, classes]`, attention weights `[batch · width, frames]`) -> (row that each
        new hypothesis continues, its symbol, whether the search is done), the first two int32 `[batch · width]`.
      with_ilm: give `advance` the logits of the internal language model, too, `[batch · width, classes]`.

    Returns:
      Number of steps; evaluating it runs the search.
    """
    listened, speller = las.listened, las.speller
    batch = tf.shape(listened.lengths)[0]
    if listened.ctc_logits is None:
        posteriors = tf.zeros([batch, 0, config.classes])
    else:
        posteriors = tf.transpose(tf.nn.log_softmax(listened.ctc_logits), [1, 0, 2])
    limits = symbol_limits(listened.lengths, secs_per_frame)
    frames = CTC_FRAMES * listened.lengths, listened.lengths
    width = tf.numpy_function(begin, [limits, posteriors, *frames], tf.int32)
    rows = batch * tf.reshape(width, [])

    def body(t, symbols, _, state):
        outputs, internal = [], state[size:]
        state = speller.advance(symbols, state[:size])
        if with_ilm:
            internal = speller.advance_alone(symbols, internal)
            outputs = [speller.logits(internal)]
        outputs = [speller.logits(state), speller.attended(state), *outputs]
        parents, symbols, is_done = tf.numpy_function(advance, outputs, [tf.int32, tf.int32, tf.bool])
        parents, symbols, state = tf.reshape(parents, [rows]), tf.reshape(symbols, [rows]), state + internal
        shapes = [tensor.shape for tensor in state]
        state = [tf.gather(tensor, parents) for tensor in state]
        for tensor, shape in zip(state, shapes, strict=True):
            tensor.set_shape([None, *shape[1:]])
        return t + 1, symbols, tf.reshape(is_done, []), state

    start = speller.start(rows)
    size = len(start)
    loop = [tf.constant(0), tf.fill([rows], config.classes - 1), tf.constant(False), start * (1 + with_ilm)]
    # the beam search observes the limits; this one stops a search that does not end
    most = tf.reduce_max(limits) + 1
    return tf.while_loop(lambda t, _, is_done, __: ~is_done & (t < most), body, loop)[0]


def infer(las: Las, config: ModelConfig, secs_per_frame: float, get_decoder: Callable) -> tuple[tuple, tuple]:
    """Returns `GreedyOutput` for greedy decoding, and the step count that runs the beam search of `get_decoder()`."""
    def begin(*inputs):
        return get_decoder().begin(*inputs)

    with_ilm = getattr(get_decoder(), 'uses_ilm', False)
    steps = search(las, config, secs_per_frame, begin, lambda *outputs: get_decoder().advance(*outputs), with_ilm)
    return tuple(greedy(las, config, secs_per_frame)), (steps,)
