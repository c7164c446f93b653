"""Commands as processes, and processes that train together, forked by a server that imports TensorFlow once."""

import contextlib
import multiprocessing
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parent.parent

# what the server imports once; nothing here may start TensorFlow's threads, which do not survive a fork
MODULES = ['tests.conftest', 'run_train', 'tests.toy_tasks', 'utils.cluster.startup', 'utils.cluster.worker']
MODULES += ['models.deepspeech2', 'models.las', 'models.las_inference', 'utils.recognition.recognizer']
MODULES += ['matplotlib.pyplot']


def _run(main, arguments, environment, log_path):
    os.environ.update(environment)
    log = os.open(log_path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(log, 1)
    os.dup2(log, 2)
    from utils.errors import run_main

    status = run_main(lambda: main(*arguments))
    sys.stdout.flush()
    sys.exit(status)


def command(script, *arguments, **options):
    """Runs a script of the project; its result."""
    line = [sys.executable, ROOT / script, *map(str, arguments)]
    return subprocess.run(line, capture_output=True, text=True, **options)


def run_train_main(*arguments):
    """What `python run_train.py` does."""
    import run_train

    return run_train.main([str(argument) for argument in arguments])


class Process:
    """A main function in a process of its own, with its log and its exit status, as a command has them."""

    def __init__(self, log_path, main, *arguments, **environment):
        self.log_path = log_path
        context = multiprocessing.get_context('forkserver')
        context.set_forkserver_preload(MODULES)
        self._process = context.Process(target=_run, args=(main, arguments, environment, str(log_path)), daemon=True)
        self._process.start()

    @property
    def log(self) -> str:
        return self.log_path.read_text(errors='replace') if self.log_path.exists() else ''

    @property
    def error(self) -> str:
        """The last error line of the log; '' without one."""
        return next((line for line in reversed(self.log.splitlines()) if line.startswith('error: ')), '')

    @property
    def is_running(self) -> bool:
        return self._process.is_alive()

    def status(self, timeout_secs=240) -> int:
        """Waits for the end; returns the exit status."""
        self._process.join(timeout_secs)
        assert not self.is_running, f'{self.log_path.name} does not end:\n{self.log}'
        return self._process.exitcode

    def wait_for(self, text, timeout_secs=240):
        """Waits until the log contains a text."""
        end = time.monotonic() + timeout_secs
        while text not in self.log:
            assert self.is_running, f'{self.log_path.name} ended without {text!r}:\n{self.log}'
            assert time.monotonic() < end, f'{self.log_path.name} lacks {text!r}:\n{self.log}'
            time.sleep(0.05)

    def send(self, number):
        os.kill(self._process.pid, number)

    def kill(self):
        if self.is_running:
            self.send(signal.SIGKILL)
            self._process.join()


def free_hosts(number):
    """Addresses host:port on this machine, with free ports."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(number)]
        for each in sockets:
            each.bind(('127.0.0.1', 0))
        return [f'127.0.0.1:{each.getsockname()[1]}' for each in sockets]
