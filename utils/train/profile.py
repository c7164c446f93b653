"""What a step spends its time on: `--profile`."""

import logging
import re
from collections import Counter
from pathlib import Path

import tensorflow.compat.v1 as tf
from tensorflow.python.client.timeline import Timeline

from utils.files import write_text

log = logging.getLogger(__name__)

DIRECTORY = 'profile'
SKIPPED_STEPS = 3  # the first steps of a process allocate memory and choose algorithms
LISTED = 40  # operations in the table
_OPERATION = re.compile(r' = (\w+)\(')


class Profiler:
    """Traces some steps of a run and writes what it saw into RUN_DIR/profile.

    `step-N.json` opens in chrome://tracing or ui.perfetto.dev; `operations.txt` is the table of the costliest
    operations. Tracing slows a step down; the steps before and after run as they always do.
    """

    def __init__(self, run_dir: str, num_steps: int):
        """Traces `num_steps` steps, 0 for none."""
        self._directory, self._left, self._skip = Path(run_dir) / DIRECTORY, num_steps, SKIPPED_STEPS
        self._steps: list[tf.RunMetadata] = []

    def begin_step(self) -> tf.RunMetadata | None:
        """What to run the next step with: a record to fill where the step is to be traced, or None."""
        if self._skip or not self._left:
            self._skip = max(self._skip - 1, 0)
            return None
        self._left -= 1
        self._steps.append(tf.RunMetadata())
        return self._steps[-1]

    def end_step(self, step: int) -> None:
        """Writes the trace of the step that was begun; after the last one the table."""
        trace = Timeline(self._steps[-1].step_stats).generate_chrome_trace_format()
        write_text(self._directory / f'step-{step}.json', trace)
        if self._left:
            return
        path = self._directory / 'operations.txt'
        write_text(path, operation_table([metadata.step_stats for metadata in self._steps]))
        log.info('the costliest operations are listed in %s; the traces lie beside it', path)


def _operations(step_stats):
    """(device, operation, microseconds) of every call; a GPU's streams count as devices of their own."""
    for device in step_stats.dev_stats:
        for node in device.node_stats:
            match = _OPERATION.search(node.timeline_label)
            # operations that do not say what they are have it in their names: while/MatMul_3
            name = match[1] if match else re.sub(r'(_\d+)?(:\w+)?$', '', node.node_name.rpartition('/')[2])
            yield device.device.partition('/device:')[2], name, node


def operation_table(steps: list) -> str:
    """The costliest operations of some steps, by device and kind.

    Args:
      steps: `StepStats` of each.
    """
    micros, calls = Counter(), Counter()
    for step_stats in steps:
        for device, name, node in _operations(step_stats):
            micros[device, name] += node.op_end_rel_micros - node.op_start_rel_micros
            calls[device, name] += 1
    total = sum(micros.values()) or 1
    lines = [
        f'Time within operations, mean of {len(steps)} traced steps: {total / 1e3 / max(len(steps), 1):.1f} ms a step.',
        'Operations that run side by side add up; tracing itself makes small operations look longer.',
        '',
        f'{"operation":32}{"device":12}{"calls":>9}{"ms a step":>12}{"share":>8}',
    ]
    for (device, name), value in micros.most_common(LISTED):
        count, mean = calls[device, name] / len(steps), value / 1e3 / len(steps)
        lines.append(f'{name:32}{device:12}{count:9.0f}{mean:12.2f}{value / total:8.1%}')
    return '\n'.join(lines) + '\n'
