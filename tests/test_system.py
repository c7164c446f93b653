"""Number of cores, and the import of TensorFlow without its start-up messages."""

import os
import subprocess
import sys
from pathlib import Path

from utils.system import num_cores


def test_cores_are_those_that_this_process_may_use():
    allowed = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(allowed)})
    try:
        assert num_cores() == 1
    finally:
        os.sched_setaffinity(0, allowed)
    assert num_cores() == len(allowed)


def test_the_import_of_tensorflow_writes_nothing_and_leaves_stderr_as_it_was():
    code = """
import sys
from utils.system import import_tensorflow
import_tensorflow()
assert 'tensorflow' in sys.modules
print('still here', file=sys.stderr)
"""
    environment = {**os.environ, 'TF_CPP_MIN_LOG_LEVEL': '3', 'CUDA_VISIBLE_DEVICES': ''}
    root = Path(__file__).parent.parent
    done = subprocess.run([sys.executable, '-c', code], cwd=root, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stderr == 'still here\n'
