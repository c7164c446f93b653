"""Profile of training steps (`--profile`): a timeline of each, and a table of the costliest operations."""

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
LISTED = 40  # rows of the table
_OPERATION = re.compile(r' = (\w+)\(')


class Profiler:
    """Traces some steps of a run and writes the profile into RUN_DIR/profile.

    `step-N.json` opens in chrome://tracing or ui.perfetto.dev; `operations.txt` is the table of the costliest
    operations. Tracing slows down the traced steps only.
    """

    def __init__(self, run_dir: str, num_steps: int):
        """Traces `num_steps` steps, 0 for none."""
        self._directory, self._left, self._skip = Path(run_dir) / DIRECTORY, num_steps, SKIPPED_STEPS
        self._steps: list[tf.RunMetadata] = []

    def begin_step(self) -> tf.RunMetadata | None:
        """Returns a record for `session.run` to fill if the next step is to be traced, else None."""
        if self._skip or not self._left:
            self._skip = max(self._skip - 1, 0)
            return None
        self._left -= 1
        self._steps.append(tf.RunMetadata())
        return self._steps[-1]

    def end_step(self, step: int) -> None:
        """Writes the trace of the current step; after the last traced step also the table."""
        trace = Timeline(self._steps[-1].step_stats).generate_chrome_trace_format()
        write_text(self._directory / f'step-{step}.json', trace)
        if self._left:
            return
        path = self._directory / 'operations.txt'
        write_text(path, operation_table([metadata.step_stats for metadata in self._steps]))
        log.info('the costliest operations are listed in %s; the traces are beside it', path)


def _operations(step_stats):
    """Yields (device, operation, node statistics) of every call; each stream of a GPU counts as a device."""
    for device in step_stats.dev_stats:
        for node in device.node_stats:
            match = _OPERATION.search(node.timeline_label)
            # without a label the kind of operation follows from its name: while/MatMul_3
            name = match[1] if match else re.sub(r'(_\d+)?(:\w+)?$', '', node.node_name.rpartition('/')[2])
            yield device.device.partition('/device:')[2], name, node


def operation_table(steps: list) -> str:
    """Returns a table of the costliest operations, by device and kind, over the `StepStats` of some steps."""
    micros: Counter[tuple[str, str]] = Counter()
    calls: Counter[tuple[str, str]] = Counter()
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
