"""Training records of a run: history.jsonl, curves.png and TensorBoard summaries."""

import json
import logging
import math
from pathlib import Path
from typing import Annotated

import msgspec
import tensorflow.compat.v1 as tf

from utils.errors import DataError
from utils.files import decode_json, write_text
from utils.plots import draw_curves

log = logging.getLogger(__name__)

_Natural = Annotated[int, msgspec.Meta(ge=0, lt=2**53)]
_Number = _Natural | float | None


class _Position(msgspec.Struct):
    epoch: _Natural
    step: _Natural


class History:
    """Validation results of a run, one JSON line each, and the figure drawn from them."""

    def __init__(self, run_dir: str, last_step: int, loss_unit: str):
        """Reads the existing records; those after last_step belong to steps that were lost, and are dropped."""
        self._loss_unit = loss_unit
        self._path, self._figure_path = Path(run_dir) / 'history.jsonl', Path(run_dir) / 'curves.png'
        lines = self._path.read_bytes().splitlines() if self._path.exists() else []
        records = (self._parse(line, number) for number, line in enumerate(lines, 1))
        self.records = [record for record in records if record and record['step'] <= last_step]

    def add(self, record: dict) -> None:
        """Appends a record and redraws the curves."""
        # JSON has no NaN
        record = {
            key: None if isinstance(value, float) and not math.isfinite(value) else value
            for key, value in record.items()
        }
        self.records = [old for old in self.records if old['step'] != record['step']] + [record]
        write_text(self._path, ''.join(json.dumps(r) + '\n' for r in self.records))
        draw_curves(self.records, self._figure_path, self._loss_unit)

    def _parse(self, line: bytes, number: int) -> dict | None:
        try:
            where = str(self._path), 'a record', 'it is left out', number
            decode_json(line, _Position, *where)
            return decode_json(line, dict[str, _Number], *where)
        except DataError as error:  # the machine crashed while this line was written, or somebody edited it
            log.warning('%s', error)
            return None


def with_indexes(scores: dict) -> dict:
    """Scores on dev as the numbers of a record: those of each index become `wer/NAME` and so on."""
    parts = scores.get('indexes', {})
    named = {f'{key}/{name}': value for name, part in parts.items() for key, value in part.items()}
    return {key: value for key, value in scores.items() if not isinstance(value, dict)} | named


def describe(record: dict, is_best: bool) -> str:
    """Formats a record as one line: losses, error rates, speed, and whether it is the best so far."""
    formats = {
        'train_loss': 'train loss {:.2f}',
        'dev_loss': 'dev loss {:.2f}',
        'without_loss': '{} without loss',
        'wer': 'WER {:.2%}',
        'cer': 'CER {:.2%}',
        'repeating': '{} repeating',
        'learning_rate': 'rate {:.1e}',
        'utterances_per_sec': '{:.1f} utt/s',
        'input_wait_share': 'input wait {:.1%}',
        'seconds': '{:.0f} s',
    }
    line = ', '.join(text.format(record[key]) for key, text in formats.items() if key in record)
    return f'{line} (best)' if is_best else line


class Summaries:
    """TensorBoard summaries in RUN_DIR/logs; does nothing when disabled."""

    def __init__(self, run_dir: str, enabled: bool, first_step: int):
        """Opens a new event file; TensorBoard drops the events of earlier processes from first_step on."""
        self._writer = None
        if enabled:
            with tf.Graph().as_default():
                self._writer = tf.summary.FileWriter(str(Path(run_dir) / 'logs'))
            self._writer.add_session_log(tf.SessionLog(status=tf.SessionLog.START), first_step)

    def add(self, step: int, **scalars: float) -> None:
        """Writes scalars; the first `__` in a name becomes the slash of a TensorBoard group."""
        if self._writer:
            values = [tf.Summary.Value(tag=k.replace('__', '/', 1), simple_value=v) for k, v in scalars.items()]
            self._writer.add_summary(tf.Summary(value=values), step)

    def add_image(self, step: int, tag: str, path: Path) -> None:
        """Writes a PNG file as an image summary."""
        if self._writer:
            image = tf.Summary.Image(encoded_image_string=path.read_bytes(), colorspace=4)
            self._writer.add_summary(tf.Summary(value=[tf.Summary.Value(tag=tag, image=image)]), step)

    def flush(self) -> None:
        """Flushes buffered events to the file."""
        if self._writer:
            self._writer.flush()

    def close(self) -> None:
        """Flushes and closes the event file."""
        if self._writer:
            self._writer.close()
