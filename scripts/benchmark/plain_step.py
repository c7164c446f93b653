"""Plain TensorFlow side of train_step.py: one training step per line on standard input; prints its seconds.

A separate process, because the first runtime of a process creates the intra-op threads for all of it, and
TensorFlow's default number, which a plain program has, differs from ours.
"""

import importlib
import json
import sys
import time

import measuring


def make_step(tf, job, arrays):
    """One training step: gradients by autodiff, clipping, Adam."""
    plain = importlib.import_module(f'plain_{job["model"]}')
    inputs = [tf.placeholder(array.dtype, [None] * array.ndim) for array in arrays]
    inputs[0].set_shape([job['batch'], None, job['features']])
    losses = plain.losses(*inputs, job)
    variables = tf.trainable_variables()
    gradients, norm = tf.clip_by_global_norm(tf.gradients(tf.reduce_mean(losses), variables), 1.0)
    update = tf.train.AdamOptimizer(1e-4).apply_gradients(zip(gradients, variables, strict=True))
    threads = {'intra_op_parallelism_threads': job['threads'], 'inter_op_parallelism_threads': job['threads']}
    session = tf.Session(config=tf.ConfigProto(**threads))
    session.run(tf.global_variables_initializer())
    feed = dict(zip(inputs, arrays, strict=True))
    return lambda: session.run([losses, norm, update], feed)


def main():
    """Reads the job from the command line."""
    job = json.loads(sys.argv[1])
    tf = measuring.import_tensorflow()
    from train_step import Case, batch_of

    *arrays, _ = batch_of(Case({}, job['batch'], job['frames'], job['symbols']), job['features'])
    step = make_step(tf, job, arrays)
    for _ in sys.stdin:
        start = time.perf_counter()
        step()
        print(time.perf_counter() - start, flush=True)


if __name__ == '__main__':
    main()
