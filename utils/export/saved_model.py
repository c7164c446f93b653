"""A SavedModel of a run: from samples to log-probabilities and text, with plain TensorFlow alone."""

from pathlib import Path

import tensorflow as tf

from utils.export.features_graph import FeatureGraph
from utils.export.graphs import RunGraph


def write_saved_model(graph: RunGraph, directory: Path) -> None:
    """Writes saved_model.pb and variables/ with the signature `serving_default`.

    Its inputs are ``samples`` float32 `[batch, samples]` and ``lengths`` int32 `[batch]`. The outputs of a CTC model
    are ``log_probs`` `[batch, frames, classes]`, ``frame_lengths`` and ``text``; those of a model with attention
    ``ids`` and ``log_probs`` `[batch, symbols]`, ``symbol_lengths`` and ``text``.
    """
    features = FeatureGraph(graph.spec)

    def ctc(samples, lengths):
        log_probs, frame_lengths = graph.ctc(samples, lengths, features)
        ids = tf.argmax(log_probs, 2, output_type=tf.int32)
        before = tf.pad(ids, [[0, 0], [1, 0]], constant_values=-1)[:, :-1]
        is_symbol = (ids != graph.config.classes - 1) & (ids != before)
        is_symbol &= tf.sequence_mask(frame_lengths, tf.shape(ids)[1])
        return {'log_probs': log_probs, 'frame_lengths': frame_lengths, 'text': graph.text(ids, is_symbol)}

    def attention(samples, lengths):
        ids, log_probs, symbol_lengths = graph.spelling(samples, lengths, features)
        text = graph.text(ids, tf.sequence_mask(symbol_lengths, tf.shape(ids)[1]))
        return {'ids': ids, 'log_probs': log_probs, 'symbol_lengths': symbol_lengths, 'text': text}

    function = tf.function(
        {'ctc': ctc, 'attention': attention}[graph.config.family],
        input_signature=[
            tf.TensorSpec([None, None], tf.float32, 'samples'),
            tf.TensorSpec([None], tf.int32, 'lengths'),
        ],
        autograph=False,
    )
    # without gradients: those of custom_gradient would be traced and saved as functions
    options = tf.saved_model.SaveOptions(experimental_custom_gradients=False)
    tf.saved_model.save(graph, str(directory), {'serving_default': function.get_concrete_function()}, options)
