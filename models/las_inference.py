"""A speller without a teacher: each symbol is its own choice, or that of a search outside the graph."""

from collections.abc import Callable
from typing import NamedTuple

import tensorflow.compat.v1 as tf

from models.las import Las
from models.listener import CTC_FRAMES

SYMBOLS_PER_FRAME, SPARE_SYMBOLS = 2, 10  # nobody speaks 25 symbols a second


class Spelled(NamedTuple):
    """What was written.

    Attributes:
      ids: int32 `[batch, symbols]`, without `<eos>`.
      log_probs: of the symbols, `[batch, symbols]`.
      lengths: int32 `[batch]`, symbols.
      end_log_probs: of `<eos>`, `[batch]`; 0 where the limit came first.
      weights: attention, `[batch, symbols, frames]`.
    """

    ids: tf.Tensor
    log_probs: tf.Tensor
    lengths: tf.Tensor
    end_log_probs: tf.Tensor
    weights: tf.Tensor


def symbol_limits(frames: tf.Tensor) -> tf.Tensor:
    """How many symbols an utterance of so many listened frames may have, so that no hypothesis runs away."""
    return SYMBOLS_PER_FRAME * frames + SPARE_SYMBOLS


def greedy(las: Las, config) -> Spelled:
    """The most probable symbol at every step, until `<eos>` or the limit of each utterance."""
    speller, end = las.speller, config.classes - 1
    limits = symbol_limits(las.listened.lengths)
    batch, most = tf.shape(limits)[0], tf.reduce_max(limits)
    arrays = [tf.TensorArray(dtype, most, infer_shape=False) for dtype in (tf.int32, tf.float32, tf.float32)]

    def body(t, symbols, is_done, state, arrays):
        state = speller.advance(symbols, state)
        log_probs = tf.nn.log_softmax(speller.logits(state))
        symbols = tf.argmax(log_probs, 1, output_type=tf.int32)
        # a row that is done, or at its limit, goes on as <eos>
        symbols = tf.where(is_done | (t >= limits), tf.fill([batch], end), symbols)
        emitted = symbols, tf.reduce_max(log_probs, 1), state[-1]
        arrays = [array.write(t, x) for array, x in zip(arrays, emitted, strict=True)]
        return t + 1, symbols, tf.equal(symbols, end), state, arrays

    loop = [tf.constant(0), tf.fill([batch], end), tf.zeros([batch], tf.bool), speller.start(batch), arrays]
    steps, *_, arrays = tf.while_loop(lambda t, _, is_done, *__: (t < most) & ~tf.reduce_all(is_done), body, loop)
    ids, log_probs, weights = (array.gather(tf.range(steps)) for array in arrays)
    ids, log_probs, weights = tf.transpose(ids), tf.transpose(log_probs), tf.transpose(weights, [1, 0, 2])
    is_end = tf.equal(ids, end)
    lengths = tf.reduce_sum(tf.cast(~is_end, tf.int32), 1)
    first_end = is_end & tf.equal(tf.cumsum(tf.cast(is_end, tf.int32), 1), 1) & tf.expand_dims(lengths < limits, 1)
    return Spelled(ids, log_probs, lengths, tf.reduce_sum(tf.where(first_end, log_probs, 0 * log_probs), 1), weights)


def search(las: Las, config, begin: Callable, advance: Callable) -> tf.Tensor:
    """Runs a beam search whose bookkeeping is outside the graph; the states stay in it.

    Args:
      las: the model over the batch.
      config: sizes and switches (`utils.config.ModelConfig`).
      begin: from (symbol limits `[batch]`, CTC log-posteriors `[batch, frames, classes]`, without frames where there is
        no CTC head, and their frames `[batch]`) to the beam's width, int32.
      advance: from (logits `[batch · width, classes]`, attention weights `[batch · width, frames]`) to the row that
        each new hypothesis goes on from and its symbol, both int32 `[batch · width]`, and whether all is done.

    Returns:
      The number of steps: run it for a search.
    """
    listened, speller = las.listened, las.speller
    batch = tf.shape(listened.lengths)[0]
    if listened.ctc_logits is None:
        heard = tf.zeros([batch, 0, config.classes])
    else:
        heard = tf.transpose(tf.nn.log_softmax(listened.ctc_logits), [1, 0, 2])
    limits = symbol_limits(listened.lengths)
    width = tf.numpy_function(begin, [limits, heard, CTC_FRAMES * listened.lengths], tf.int32)
    rows = batch * tf.reshape(width, [])

    def body(t, symbols, _, state):
        state = speller.advance(symbols, state)
        parents, symbols, is_done = tf.numpy_function(
            advance, [speller.logits(state), state[-1]], [tf.int32, tf.int32, tf.bool]
        )
        parents, symbols = tf.reshape(parents, [rows]), tf.reshape(symbols, [rows])
        shapes = [tensor.shape for tensor in state]
        state = [tf.gather(tensor, parents) for tensor in state]
        for tensor, shape in zip(state, shapes, strict=True):
            tensor.set_shape([None, *shape[1:]])
        return t + 1, symbols, tf.reshape(is_done, []), state

    loop = [tf.constant(0), tf.fill([rows], config.classes - 1), tf.constant(False), speller.start(rows)]
    # the search knows its limits; this one is for a search that does not end
    most = tf.reduce_max(limits) + 1
    return tf.while_loop(lambda t, _, is_done, __: ~is_done & (t < most), body, loop)[0]


def infer(las: Las, config, decoder: Callable) -> tuple[tuple, tuple]:
    """For greedy decoding a `Spelled`, for a beam search what runs it with the decoder's `begin` and `advance`."""
    steps = search(las, config, lambda *begun: decoder().begin(*begun), lambda *made: decoder().advance(*made))
    return tuple(greedy(las, config)), (steps,)
