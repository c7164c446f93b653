"""Times the convolutions of Deep Speech 2's front end, forward and backward, form by form."""

import argparse
import sys

import measuring

# name: input [batch, frames, frequencies, channels], kernel, strides, whether the gradient of the input is needed
CASES = {
    '1st, 16 x 600 x 81': ((16, 600, 81, 1), (11, 41, 1, 32), (2, 2), False),
    '2nd, 16 x 300 x 41': ((16, 300, 41, 32), (11, 21, 32, 32), (1, 2), True),
    '1st, 8 x 300 x 40': ((8, 300, 40, 1), (11, 41, 1, 32), (2, 2), False),
    '2nd, 8 x 150 x 20': ((8, 150, 20, 32), (11, 21, 32, 32), (1, 2), True),
}
OTHERS = {'plain': '`tf.nn.conv2d`', 'frequency_first': '`tf.nn.conv2d`, frequency first'}
FORMS = (*OTHERS, 'auto')


def build(tf, x_shape, kernel_shape, strides, needs_input_gradient):
    """{form: function that runs the convolution and its gradients}."""
    from models.convolution import conv2d

    tensors = {}
    with tf.Graph().as_default():
        # variables, since constants would be folded
        x = tf.convert_to_tensor(tf.get_variable('x', initializer=tf.random.normal(x_shape, seed=1)))
        kernel = tf.convert_to_tensor(tf.get_variable('kernel', initializer=tf.random.normal(kernel_shape, seed=2)))
        for form in FORMS:
            y = conv2d(x, kernel, *strides, form=form, device_type='CPU')
            dy = tf.get_variable(f'dy_{form}', initializer=tf.random.normal([int(n) for n in y.shape], seed=3))
            wanted = [kernel, x] if needs_input_gradient else [kernel]
            tensors[form] = [y, *tf.gradients(y, wanted, tf.convert_to_tensor(dy))]
        threads = {'intra_op_parallelism_threads': 2, 'inter_op_parallelism_threads': 2}
        return measuring.graph_runs(tf, tensors, tf.ConfigProto(**threads))


def main(argv: list[str] | None = None) -> int:
    """Prints a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--seconds', type=float, default=5, help='time to spend on each case (default 5)')
    arguments = measuring.start(parser, argv)
    tf = measuring.import_tensorflow()
    for name, case in CASES.items():
        found = measuring.medians(build(tf, *case), arguments.seconds)
        for form, other in OTHERS.items():
            measuring.print_row(measuring.compare(f'convolution, {name}', found['auto'], other, found[form]))
    return 0


if __name__ == '__main__':
    sys.exit(main())
