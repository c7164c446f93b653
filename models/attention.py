"""Attention over the encoder output: energies, masked softmax, context vector.

Training and decoding use the same functions. Rows are hypotheses: equally many of each utterance, one after another.
"""

from collections.abc import Callable
from typing import NamedTuple

import tensorflow.compat.v1 as tf

from models.layers import dense

FAR = -1e9  # an energy whose softmax is 0
LOCATION_WIDTH = 31  # encoder frames of the previous weights that the location-aware energy depends on


class Attention(NamedTuple):
    """Attention over one batch of encoded utterances.

    Attributes:
      weights, shared: tensors by name, as `fast.scan.scan` takes them.
      attend: attend(apply, shared, speller state `[rows, units]`, previous weights `[rows, frames]`) -> (weights
        `[rows, frames]`, context `[rows, memory units]`); with several heads, weights `[rows, heads, frames]`.
    """

    weights: dict[str, tf.Tensor]
    shared: dict[str, tf.Tensor]
    attend: Callable


def _softmax(scores, mask):
    """Softmax over real frames; scores `[rows, frames]`, mask `[batch, frames]`."""
    batch, frames = tf.shape(mask)[0], tf.shape(mask)[1]
    scores = tf.reshape(scores, [batch, -1, frames]) + tf.expand_dims((1 - mask) * FAR, 1)
    return tf.reshape(tf.nn.softmax(scores), [-1, frames])


def _matrix(name, shape, initializer):
    return tf.convert_to_tensor(tf.get_variable(name, shape, initializer=initializer))


def windows(weights: tf.Tensor, width: int) -> tf.Tensor:
    """Windows of `width` weights centred on each frame, `[rows, frames, width]`, zeros beyond the ends.

    They make a convolution a GEMM, forward and backward; conv1d's gradient by a single channel takes ten times as long.
    The padded weights are repeated once per frame and cut into rows one element longer than their period, so that each
    row starts one frame later than the row before.
    """
    frames = tf.shape(weights)[1]
    padded = tf.pad(weights, [[0, 0], [(width - 1) // 2, width // 2]])
    copies = tf.pad(tf.tile(padded, [1, frames]), [[0, 0], [0, frames]])
    copies = tf.reshape(copies, [-1, frames, frames + width])
    return tf.slice(copies, [0, 0, 0], [-1, -1, width])


def content_attention(
    memory: tf.Tensor, values: tf.Tensor, mask: tf.Tensor, state_units: int, units: int, initializer
) -> Attention:
    """e_{i,u} = ⟨φ(s_i), ψ(h_u)⟩, α = softmax(e), c = Σ α h (Listen, Attend and Spell, eqs. 9-11).

    φ and ψ are one tanh layer each; ψ(h) is computed once.

    Args:
      memory: encoder output, `[batch, frames, memory units]`, zero on padding.
      values: the part of it that the context has, `[batch, frames, units of the context]`.
      mask: `[batch, frames]`, 1 for real frames.
      state_units: units of the speller's state.
      units: units of φ and ψ.
      initializer: initializer of the variables.
    """
    keys = tf.tanh(dense(memory, units, 'keys', initializer))
    query = _matrix('query', [state_units, units], initializer)

    def attend(apply, shared, state, previous):
        del shared, previous
        weights = _softmax(apply('keys', tf.tanh(apply('query', state))), mask)
        return weights, apply('memory', weights)

    return Attention({'query': query, 'keys': tf.linalg.matrix_transpose(keys), 'memory': values}, {}, attend)


def location_attention(
    memory: tf.Tensor, values: tf.Tensor, mask: tf.Tensor, state_units: int, units: int, initializer
) -> Attention:
    """e_{i,u} = v · tanh(W s_i + V h_u + (F * α_{i-1})_u) (Chorowski et al. 2015, eqs. 6-8; 1612.02695, section 3).

    F is one 1-D convolution: the product of the paper's two linear maps, the convolution to channels and the projection
    of channels to units. Arguments as in `content_attention`.
    """
    keys = dense(memory, units, 'keys', initializer)
    query = _matrix('query', [state_units, units], initializer)
    shared = {
        'keys': keys,
        'location': _matrix('location', [LOCATION_WIDTH, units], initializer),
        'score': _matrix('score', [units], initializer),
    }

    def attend(apply, shared, state, previous):
        batch, frames = tf.shape(mask)[0], tf.shape(mask)[1]
        around = tf.reshape(windows(previous, LOCATION_WIDTH), [-1, LOCATION_WIDTH])
        location = tf.matmul(around, shared['location'])
        energy = tf.reshape(location, [batch, -1, frames, units]) + tf.expand_dims(shared['keys'], 1)
        hidden = tf.tanh(energy + tf.reshape(apply('query', state), [batch, -1, 1, units]))
        scores = tf.matmul(tf.reshape(hidden, [-1, units]), tf.expand_dims(shared['score'], 1))
        weights = _softmax(scores, mask)
        return weights, apply('memory', weights)

    return Attention({'query': query, 'memory': values}, shared, attend)


ATTENTIONS = {'content': content_attention, 'location': location_attention}


def multi_head_attention(
    kind: str, heads: int, memory: tf.Tensor, mask: tf.Tensor, state_units: int, units: int, initializer
) -> Attention:
    """Several attentions side by side (Vaswani et al. 2017, arXiv 1706.03762; in this model arXiv 1712.01769).

    Each head has its own energies, of units / heads units, with its own location features, and its own weights. Its
    context is every heads-th unit of the memory, so that it has some of both directions; the heads' contexts together
    are as large as one of a single head.

    Args:
      kind: a name in ATTENTIONS.
      heads: number of heads, a divisor of both numbers of units; 1: that attention itself.
      memory, mask, state_units, units, initializer: as in `content_attention`.

    Returns:
      An attention whose weights are `[rows, heads, frames]` with two heads or more.
    """
    if heads == 1:
        return ATTENTIONS[kind](memory, memory, mask, state_units, units, initializer)
    parts = []
    for i in range(heads):
        with tf.variable_scope(f'head{i + 1}'):
            settings = memory[:, :, i::heads], mask, state_units, units // heads, initializer
            parts.append(ATTENTIONS[kind](memory, *settings))

    def attend(apply, shared, state, previous):
        found = []
        for i, part in enumerate(parts):
            own = {name: shared[f'{name}{i}'] for name in part.shared}
            found.append(part.attend(lambda name, x, i=i: apply(f'{name}{i}', x), own, state, previous[:, i]))
        weights, contexts = zip(*found, strict=True)
        return tf.stack(weights, 1), tf.concat(contexts, 1)

    weights, shared = (
        {f'{name}{i}': tensor for i, part in enumerate(parts) for name, tensor in getattr(part, group).items()}
        for group in ('weights', 'shared')
    )
    return Attention(weights, shared, attend)
