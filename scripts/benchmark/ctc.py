"""Times the CTC loss and its gradient against TensorFlow's kernel."""

import argparse
import sys

import measuring

# frames, utterances, classes, symbols
CASES = {
    '32 × 500 frames × 150 symbols': (500, 32, 29, 150),
    '16 × 300 frames × 80 symbols': (300, 16, 29, 80),
    '8 × 120 frames × 30 symbols': (120, 8, 29, 30),
    '16 × 300 frames × 30 of 4000 symbols': (300, 16, 4001, 30),
}


def build(tf, case):
    """Functions that run our implementation and the kernel separately, fetching values and gradients."""
    import numpy as np

    from models.fast import ctc_loss
    from utils.train.strategies import local_runtime

    frames, batch, classes, symbols = case
    rng = np.random.default_rng(0)

    def ragged(longest):
        return np.sort(np.append(rng.integers(int(longest * 0.85), longest + 1, batch - 1), longest)).astype(np.int32)

    with tf.Graph().as_default():
        # variables, since constants would be folded
        values = (
            rng.normal(size=[frames, batch, classes]).astype(np.float32),
            ragged(frames),
            rng.integers(0, classes - 1, [batch, symbols]).astype(np.int32),
            ragged(symbols),
        )
        inputs = [tf.convert_to_tensor(tf.Variable(value, trainable=False)) for value in values]
        tensors = {
            'ours': ctc_loss.checked_losses_and_gradients(ctc_loss.losses_and_gradients, *inputs),
            'kernel': ctc_loss.kernel_losses_and_gradients(*inputs)[:2],
        }
        return measuring.graph_runs(tf, tensors, local_runtime().session_config)


def main(argv: list[str] | None = None) -> int:
    """Prints a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--seconds', type=float, default=5, help='time to spend on each case (default 5)')
    arguments = measuring.start(parser, argv)
    tf = measuring.import_tensorflow()
    for name, case in CASES.items():
        found = measuring.medians(build(tf, case), arguments.seconds)
        measuring.print_row(measuring.compare(f'CTC, {name}', found['ours'], '`tf.nn.ctc_loss`', found['kernel']))
    return 0


if __name__ == '__main__':
    sys.exit(main())
