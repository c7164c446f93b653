"""Times the convolutions of Deep Speech 2's front end, form by form, on this machine's processor.

python scripts/benchmark/convolution.py [-h] [--seconds S]
"""

import argparse
import os
import statistics
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', '..'))

# name: input [batch, frames, frequencies, channels], kernel, strides, is the input's gradient needed?
CASES = {
    '1st, 16 x 600 x 81': ((16, 600, 81, 1), (11, 41, 1, 32), (2, 2), False),
    '2nd, 16 x 300 x 41': ((16, 300, 41, 32), (11, 21, 32, 32), (1, 2), True),
    '1st, 8 x 300 x 40': ((8, 300, 40, 1), (11, 41, 1, 32), (2, 2), False),
    '2nd, 8 x 150 x 20': ((8, 150, 20, 32), (11, 21, 32, 32), (1, 2), True),
}
FORMS = ('plain', 'frequency_first', 'auto')


def build(x_shape, kernel_shape, strides, needs_input_gradient, form):
    """A session with (forward, forward and backward) to fetch."""
    import tensorflow.compat.v1 as tf

    from models.convolution import conv2d

    with tf.Graph().as_default() as graph:
        # variables, since constants would be folded; sums, since what only a group needs is pruned
        x = tf.get_variable('x', initializer=tf.random.normal(x_shape, seed=1))
        kernel = tf.get_variable('kernel', initializer=tf.random.normal(kernel_shape, seed=2))
        y = conv2d(tf.convert_to_tensor(x), tf.convert_to_tensor(kernel), *strides, form=form, device_type='CPU')
        dy = tf.get_variable('dy', initializer=tf.random.normal([int(n) for n in y.shape], seed=3))
        gradients = tf.gradients(y, [kernel, x] if needs_input_gradient else [kernel], tf.convert_to_tensor(dy))
        forward = tf.reduce_sum(y)
        both = [forward, *map(tf.reduce_sum, gradients)]
        session = tf.Session(config=tf.ConfigProto(intra_op_parallelism_threads=2, inter_op_parallelism_threads=2))
        session.run(tf.global_variables_initializer())
        size = graph.as_graph_def().ByteSize()
    return session, [forward, both], size


def measure(case, seconds):
    """Median milliseconds (forward, both) and graph bytes of each form; they take turns: no machine is ever quiet."""
    built = {form: build(*case, form) for form in FORMS}
    times = {form: [[], []] for form in FORMS}
    for session, fetches, _ in built.values():
        session.run(fetches)
    end = time.perf_counter() + seconds
    while time.perf_counter() < end or not times[FORMS[0]][0]:
        for form, (session, fetches, _) in built.items():
            for i, fetch in enumerate(fetches):
                start = time.perf_counter()
                session.run(fetch)
                times[form][i].append(1e3 * (time.perf_counter() - start))
    for session, _, _ in built.values():
        session.close()
    return {form: [statistics.median(t) for t in times[form]] + [built[form][2]] for form in FORMS}


def main(argv: list[str] | None = None) -> int:
    """Prints a table."""
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    parser.add_argument('--seconds', type=float, default=5, help='time to spend on each case (default 5)')
    arguments = parser.parse_args(argv)
    os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '3')
    os.environ.setdefault('TF_ENABLE_ONEDNN_OPTS', '1')
    import tensorflow.compat.v1 as tf

    tf.disable_control_flow_v2()
    print(f'{"convolution":22}{"form":18}{"forward ms":>11}{"both ms":>10}{"speed-up":>10}{"graph KB":>10}')
    for name, case in CASES.items():
        results = measure(case, arguments.seconds)
        for form, (forward, both, size) in results.items():
            ratio = results['plain'][1] / both
            print(f'{name:22}{form:18}{forward:11.1f}{both:10.1f}{ratio:9.1f}x{size / 1024:10.0f}', flush=True)
    return 0


if __name__ == '__main__':
    sys.exit(main())
