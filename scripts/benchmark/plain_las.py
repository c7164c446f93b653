"""Listen, Attend and Spell as in TensorFlow 1 programs: dynamic_rnn, a decoder loop with attention, autodiff."""

import tensorflow.compat.v1 as tf
from plain_layers import CELLS, bidirectional_rnn, ctc_losses, dense

LOCATION_WIDTH = 31
CTC_FRAMES = 2


def losses(features, lengths, labels, label_lengths, fields):
    """Loss of each utterance: features `[batch, time, features]`, fields as in `models.config.ModelConfig`."""
    units, batch = fields['hidden_units'], int(features.shape[0])
    x = tf.transpose(features, [1, 0, 2])
    for i in range(fields['rnn_layers']):
        if i:
            x = tf.pad(x, [[0, tf.shape(x)[0] % 2], [0, 0], [0, 0]])
            x = tf.reshape(tf.transpose(x, [1, 0, 2]), [batch, -1, 2 * int(x.shape[2])])
            x, lengths = tf.transpose(x, [1, 0, 2]), (lengths + 1) // 2
        x = tf.concat(bidirectional_rnn(fields['rnn_cell'], x, lengths, units, f'listener{i}'), 2)
    memory, steps = tf.transpose(x, [1, 0, 2]), tf.shape(labels)[1] + 1
    outputs = _decode(memory, lengths, tf.pad(labels, [[0, 0], [1, 0]], constant_values=28), fields)
    logits = dense(tf.tanh(dense(outputs, units, 'hidden')), 29, 'symbols')
    mask = tf.sequence_mask(label_lengths + 1, steps, tf.float32)
    targets = tf.where(
        tf.sequence_mask(label_lengths, steps), tf.pad(labels, [[0, 0], [0, 1]]), tf.fill([batch, steps], 28)
    )
    costs = tf.nn.sparse_softmax_cross_entropy_with_logits(labels=targets, logits=tf.transpose(logits, [1, 0, 2]))
    ctc_logits = tf.reshape(dense(memory, CTC_FRAMES * 29, 'ctc'), [batch, -1, 29])
    ctc_costs = ctc_losses(tf.transpose(ctc_logits, [1, 0, 2]), CTC_FRAMES * lengths, labels, label_lengths)
    weight = fields['ctc_weight']
    return ((1 - weight) * tf.reduce_sum(costs * mask, 1) + weight * ctc_costs) / tf.reduce_sum(mask, 1)


def _decode(memory, lengths, symbols, fields):
    """Outputs of a decoder with an attention wrapper, `[steps, batch, units + memory units]`."""
    units, layers = fields['hidden_units'], fields['speller_layers']
    batch, memory_units, steps = int(memory.shape[0]), int(memory.shape[2]), tf.shape(symbols)[1]
    embedding = tf.get_variable('embedding', [29, units])
    rows = tf.transpose(tf.nn.embedding_lookup(embedding, symbols), [1, 0, 2])
    source = tf.TensorArray(tf.float32, steps, element_shape=[batch, units]).unstack(rows)
    make_cell = CELLS[fields['rnn_cell']]
    cells = [make_cell(units + (0 if i else memory_units), units, f'speller{i}') for i in range(layers)]
    attend = _attention(memory, lengths, units, fields['attention'])
    zero, sizes = tf.zeros([batch, units]), [cell.num_states for cell in cells]

    def step(t, states, context, weights, outputs):
        x, new = tf.concat([source.read(t), context], 1), []
        for cell, state in zip(cells, states, strict=True):
            state = cell(x, state)
            x, new = state[0], [*new, state]
        context, weights = attend(x, weights)
        return t + 1, new, context, weights, outputs.write(t, tf.concat([x, context], 1))

    start = [[zero] * size for size in sizes], tf.zeros([batch, memory_units]), tf.zeros(tf.shape(memory)[:2])
    outputs = tf.TensorArray(tf.float32, steps, element_shape=[batch, units + memory_units])
    start = [tf.constant(0), *start, outputs]
    return tf.while_loop(lambda t, *_: t < steps, step, start, parallel_iterations=32)[4].stack()


def _attention(memory, lengths, units, kind):
    """(query, previous weights) to (context, weights), as in `models.attention`."""
    padding = (1 - tf.sequence_mask(lengths, tf.shape(memory)[1], tf.float32)) * -1e9
    keys = dense(memory, units, 'keys')
    query_kernel = tf.get_variable('query', [units, units])
    location = tf.get_variable('location', [LOCATION_WIDTH, 1, units]) if kind == 'location' else None
    score = tf.get_variable('score', [units, 1]) if kind == 'location' else None

    def attend(state, previous):
        query = tf.expand_dims(tf.matmul(state, query_kernel), 1)
        if kind == 'location':
            seen = tf.nn.conv1d(tf.expand_dims(previous, 2), location, 1, 'SAME')
            scores = tf.squeeze(tf.tensordot(tf.tanh(keys + query + seen), score, 1), 2)
        else:
            scores = tf.squeeze(tf.matmul(tf.tanh(query), tf.tanh(keys), transpose_b=True), 1)
        weights = tf.nn.softmax(scores + padding)
        weights.set_shape([int(memory.shape[0]), None])
        return tf.squeeze(tf.matmul(tf.expand_dims(weights, 1), memory), 1), weights

    return attend
