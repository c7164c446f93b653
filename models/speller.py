"""The speller of Listen, Attend and Spell: one step, run with teacher forcing or on its own output.

Its state is a list: the states of each recurrent layer (two in the paper), the context, the attention weights.
"""

from collections.abc import Callable
from typing import NamedTuple

import tensorflow.compat.v1 as tf

from models.attention import multi_head_attention
from models.cells import NUM_GATES, NUM_STATES, STEPS, initial_bias
from models.config import ModelConfig
from models.fast.scan import product, scan
from models.layers import ACTIVATIONS, Phase, affine
from models.listener import Listened

SAMPLING_STREAM = 7919  # offset of the seed of scheduled sampling from those of dropout


class Speller(NamedTuple):
    """Speller over one batch of encoded utterances.

    Attributes:
      table: projected embedding of each symbol plus bias of the first layer, `[classes, gates · units]`.
      weights, shared, step: arguments of `fast.scan.scan`.
      step_alone: as `step`, with a context that stays what the state holds: zero, if it began so.
      start: start(number of rows) -> their initial state.
      logits: logits(a state, or states stacked over time) -> `[..., classes]`.
      attended: attended(a state) -> attention weights `[rows, frames]`, the mean over the heads.
    """

    table: tf.Tensor
    weights: dict[str, tf.Tensor]
    shared: dict[str, tf.Tensor]
    step: Callable
    step_alone: Callable
    start: Callable
    logits: Callable
    attended: Callable

    def advance(self, symbols: tf.Tensor, state: list[tf.Tensor]) -> list[tf.Tensor]:
        """One step at inference, from the previous symbols, int32 `[rows]`, to the new state."""
        row = tf.gather(self.table, symbols)
        return self.step(lambda name, x: product(x, self.weights[name]), self.shared, row, state)

    def advance_alone(self, symbols: tf.Tensor, state: list[tf.Tensor]) -> list[tf.Tensor]:
        """As `advance` for the internal language model: the context vector is zero (Meng et al. 2021, 2011.01991)."""
        row = tf.gather(self.table, symbols)
        return self.step_alone(lambda name, x: product(x, self.weights[name]), self.shared, row, state)


def make_speller(listened: Listened, config: ModelConfig, phase: Phase, initializer) -> Speller:
    """s_i = RNN(s_{i-1}, y_{i-1}, c_{i-1}), c_i = attend(s_i, h), P(y_i) = MLP(s_i, c_i) (eqs. 6-8 of the paper).

    Args:
      listened: encoder output.
      config: model configuration.
      phase: training or inference. Dropout between the layers drops the same units at every step of an utterance.
      initializer: initializer of the kernels.
    """
    units, layers = config.hidden_units, range(config.speller_layers)
    heads, encoded = config.attention_heads, (listened.memory, listened.mask)
    attention = multi_head_attention(config.attention, heads, *encoded, units, units, initializer)
    table, weights, shared = _cells(int(listened.memory.shape[2]), config, initializer)
    num_states, cell_step = NUM_STATES[config.rnn_cell], STEPS[config.rnn_cell]
    batch, frames = tf.shape(listened.mask)[0], tf.shape(listened.mask)[1]
    # one hidden layer; its variables are created here because `logits` is also called inside loops
    to_hidden = affine(units + int(listened.memory.shape[2]), units, 'hidden', initializer)
    to_symbols = affine(units, config.classes, 'symbols', initializer)
    kept = {layer: phase.dropout(tf.ones([batch, units]), f'speller{layer}') for layer in layers[1:]}

    def recur(apply, shared, row, cells, context):
        new_cells, h = [], None
        for layer in layers:
            old = cells[layer * num_states : (layer + 1) * num_states]
            below = context if layer == 0 else h * kept[layer] if phase.is_training else h
            projected = apply(f'input{layer}', below) + (row if layer == 0 else shared[f'bias{layer}'])
            new, _ = cell_step(projected, apply(f'recurrent{layer}', old[0]), old, ACTIVATIONS[config.activation])
            h, new_cells = new[0], new_cells + new
        return new_cells, h

    def step(apply, shared, row, state):
        *cells, context, attended = state
        cells, h = recur(apply, shared, row, cells, context)
        attended, context = attention.attend(apply, shared, h, attended)
        return [*cells, context, attended]

    def step_alone(apply, shared, row, state):
        *cells, context, attended = state
        return [*recur(apply, shared, row, cells, context)[0], context, attended]

    def start(rows):
        cells = [tf.zeros([rows, units]) for _ in range(len(layers) * num_states)]
        nowhere = tf.zeros([rows, frames] if heads == 1 else [rows, heads, frames])
        return [*cells, tf.zeros([rows, int(listened.memory.shape[2])]), nowhere]

    def logits(state):
        x = phase.dropout(tf.concat([state[(len(layers) - 1) * num_states], state[-2]], -1), 'speller_output')
        return to_symbols(tf.tanh(to_hidden(x)))

    def attended(state):
        return state[-1] if heads == 1 else tf.reduce_mean(state[-1], 1)

    scanned = {**weights, **attention.weights}, {**shared, **attention.shared}, step
    return Speller(table, *scanned, step_alone, start, logits, attended)


def _cells(memory_units, config, initializer):
    """Creates the variables of the recurrent layers; returns symbol table, and weights and shared tensors by name."""
    units, gates = config.hidden_units, NUM_GATES[config.rnn_cell] * config.hidden_units
    weights, shared = {}, {}
    embedding = tf.get_variable('embedding', [config.classes, units], initializer=initializer)
    kernel = tf.get_variable('symbol_kernel', [units, gates], initializer=initializer)
    for layer in range(config.speller_layers):
        with tf.variable_scope(f'layer{layer + 1}'):
            below = memory_units if layer == 0 else units
            for name, inputs in ((f'input{layer}', below), (f'recurrent{layer}', units)):
                variable = tf.get_variable(name.rstrip('0123456789'), [inputs, gates], initializer=initializer)
                weights[name] = tf.convert_to_tensor(variable)
            bias = tf.get_variable('bias', initializer=initial_bias(config.rnn_cell, units))
            shared[f'bias{layer}'] = tf.convert_to_tensor(bias)
    # a symbol's projection and the bias are looked up, not computed at each step
    table = tf.matmul(embedding, kernel) + shared.pop('bias0')
    return table, weights, shared


def spell(speller: Speller, symbols: tf.Tensor, phase: Phase, sample_prob: float = 0.0) -> tf.Tensor:
    """Runs the speller with teacher forcing.

    Args:
      speller: speller over the batch.
      symbols: previous symbol of each step, int32 `[steps, batch]`, `<sos>` first.
      phase: training or inference.
      sample_prob: probability of sampling the previous symbol from the model's own distribution instead (section 3.4).

    Returns:
      Logits, `[steps, batch, classes]`.
    """

    choose = None
    if phase.is_training and sample_prob > 0:
        # [steps, 2, 2]: a seed for each symbol and one for each choice; the sum of a seed and t would be a later step's
        stream, shape = phase.seed + tf.constant([SAMPLING_STREAM, 0]), [tf.shape(symbols)[0], 2, 2]
        seeds = tf.random.stateless_uniform(shape, stream, minval=None, maxval=None, dtype=tf.int32)

        def choose(t, given, state):
            own = tf.random.stateless_categorical(speller.logits(state), 1, seeds[t, 0], dtype=given.dtype)[:, 0]
            is_own = tf.random.stateless_uniform(tf.shape(given), seeds[t, 1]) < sample_prob
            return tf.where(is_own & (t > 0), own, given)

    start = speller.start(tf.shape(symbols)[1])
    states = scan(speller.step, symbols, speller.table, start, speller.weights, speller.shared, choose)
    return speller.logits(states)
