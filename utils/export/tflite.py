"""TFLite models of a run with built-in operations only: whole utterances, or chunks with explicit state."""

import tensorflow as tf

from utils.export.features_graph import FeatureGraph
from utils.export.graphs import RunGraph


def whole_utterances(graph: RunGraph) -> tf.types.experimental.ConcreteFunction:
    """Function of ``samples`` float32 `[1, samples]` to ``log_probs`` and ``frame_lengths``; see `RunGraph.ctc`."""

    def run(samples):
        features = FeatureGraph(graph.spec, tf.float32, _zero(samples))
        num_samples = tf.shape(samples)[1:]
        log_probs, frame_lengths = graph.ctc(samples, num_samples, features, 'portable')
        return {'log_probs': log_probs, 'frame_lengths': frame_lengths}

    return tf.function(run, autograph=False).get_concrete_function(tf.TensorSpec([1, None], tf.float32, 'samples'))


def chunks(graph: RunGraph, num_frames: int) -> tuple[tf.types.experimental.ConcreteFunction, int, int]:
    """Function of a chunk; see `RunGraph.chunk`. Returns it, the samples of a chunk, and the size of the state.

    Args:
      graph: graph of a ds2 of one direction.
      num_frames: output frames of a chunk.
    """
    num_samples, sizes = graph.samples_per_frame * num_frames, []

    def run(samples, state, position, num_samples):
        features = FeatureGraph(graph.spec, tf.float32, _zero(samples))
        found = graph.chunk(samples, state, position, num_samples, features)._asdict()
        sizes.append(found.pop('state_size'))
        return found

    def trace(state_size):
        return tf.function(run, autograph=False).get_concrete_function(
            tf.TensorSpec([1, num_samples], tf.float32, 'samples'),
            tf.TensorSpec([1, state_size], tf.float32, 'state'),
            tf.TensorSpec([1], tf.int32, 'position'),
            tf.TensorSpec([1], tf.int32, 'num_samples'),
        )

    trace(None)
    return trace(sizes[0]), num_samples, sizes[0]


def convert(graph: RunGraph, function: tf.types.experimental.ConcreteFunction, quantization: str) -> bytes:
    """The flatbuffer of a function, under the signature `serving_default`.

    Args:
      graph: owner of the function's variables.
      function: as `whole_utterances` or `chunks` returns it.
      quantization: `none`: float32; `int8`: weights in int8 with a scale for each output, activations quantised as they
        come (dynamic range), features in float32.
    """
    converter = tf.lite.TFLiteConverter.from_concrete_functions([function], graph)
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
    if quantization == 'int8':
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
    return converter.convert()


def _zero(samples: tf.Tensor) -> tf.Tensor:
    """A zero that only the running model can know."""
    return tf.minimum(tf.abs(samples[0, 0]), 0.0)
