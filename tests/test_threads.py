"""The threads that a run asks for are those that it gets, although tf.data starts a runtime before any session."""

import os
import subprocess
import sys
from pathlib import Path

from utils.system import num_cores

ROOT = Path(__file__).parent.parent
SCRIPT = """
import tensorflow.compat.v1 as tf
tf.disable_eager_execution()
from utils.train.strategies import session_options
options = session_options({flags})
tf.data.Dataset.range(3).map(lambda x: x)
from tensorflow.python.eager import context
assert context.context()._context_handle is not None  # tf.data has started it
print(options.intra_op_parallelism_threads, context.context().config.intra_op_parallelism_threads)
"""


def threads(flags: str) -> list[str]:
    code = SCRIPT.format(flags=flags)
    environment = {**os.environ, 'CUDA_VISIBLE_DEVICES': ''}  # with a GPU the choice is TensorFlow's
    command = [sys.executable, '-c', code]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


def test_every_runtime_of_the_process_has_the_threads_that_were_asked_for():
    assert threads('intra_op_threads=3') == ['3', '3']


def test_left_to_the_machine_they_are_half_its_cores_in_both():
    assert threads('') == 2 * [str(max(1, num_cores() // 2))]
