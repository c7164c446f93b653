"""A benchmark script in a process of its own, such as PyTorch's training step, which takes steps on request."""

import dataclasses
import json
import subprocess
from pathlib import Path

from models.config import ModelConfig
from utils.errors import REPOSITORY, DataError
from utils.gpu.steps import FEATURES, Case
from utils.system import num_cores

SCRIPTS = REPOSITORY / 'scripts' / 'benchmark'


class Peer:
    """A running script of scripts/benchmark/.

    Args:
      python: interpreter that has what the script needs.
      script: name of the script.
      case: model and shapes of its steps.
      device: cpu or cuda.
    """

    def __init__(self, python: str, script: str, case: Case, device: str = 'cpu'):
        job = {**case._asdict(), **dataclasses.asdict(ModelConfig(**case.model_fields)), 'features': FEATURES}
        job |= {'threads': num_cores(), 'device': device}
        del job['model_fields']
        command = [python, str(SCRIPTS / script), json.dumps(job)]
        pipes = {'stdin': subprocess.PIPE, 'stdout': subprocess.PIPE, 'stderr': subprocess.PIPE}
        self._name, self._process = Path(script).stem, subprocess.Popen(command, text=True, **pipes)  # type: ignore

    def step(self) -> float:
        """Seconds of a step, by its own clock; a `DataError` with the end of its messages if it has failed."""
        try:
            self._pipe('stdin').write('\n')
            self._pipe('stdin').flush()
            line = self._pipe('stdout').readline()
        except BrokenPipeError:
            line = ''
        if line:
            return float(line)
        messages = self._pipe('stderr').read().strip().splitlines()
        raise DataError(f'{self._name} fails ({messages[-1] if messages else "without a message"})')

    def _pipe(self, name):
        return getattr(self._process, name)

    def close(self) -> None:
        """Ends it."""
        for name in ('stdin', 'stdout', 'stderr'):
            self._pipe(name).close()
        self._process.wait()
