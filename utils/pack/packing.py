"""Packs one checkpoint of a run: weights, configuration, vocabulary, statistics, tuned weights, and a model card."""

import dataclasses
import json
import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from utils.data.index import read_index
from utils.data.statistics import STATISTICS_NAME
from utils.data.vocabulary import VOCABULARY_NAME
from utils.decode.options import DECODING_NAME, find_tuned, read_tuned
from utils.errors import DataError, UsageError
from utils.files import replacing
from utils.pack.archive import CARD_NAME, CONFIG_NAME, WEIGHTS_NAME, Manifest, find_packed, write_archive
from utils.pack.card import ModelCard
from utils.pack.weights import encode
from utils.run_directory import Run
from utils.train.checkpoint import Checkpoints
from utils.train.history import History

log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Checkpoint:
    """A checkpoint to pack.

    Attributes:
      which: best, latest, average, or its name, as it was asked for.
      weights: its identity, such as `model-845 (0123456789ab)`; see `utils.recognition.posteriors.weights_id`.
      values: values of the model's variables by name, float32.
    """

    which: str
    weights: str
    values: Mapping[str, np.ndarray]


def check_target(path: str, lm: str | None) -> None:
    """Checks where to write before the work begins.

    Raises:
      UsageError: a directory, a file that is no packed run, or no language model at the path of one.
    """
    if os.path.isdir(path):
        raise UsageError(f'{path} is a directory; name the file to write, such as {Path(path) / "model.zip"}')
    try:
        find_packed(path)  # one that is there is replaced
    except DataError:
        raise UsageError(f'{path} is there and no packed run; remove it or name another file') from None
    if lm and not os.path.isfile(lm):
        raise UsageError(f'--lm {lm}: no such file; name an ARPA file')


def pack(run: Run, checkpoint: Checkpoint, path: str, dtype: str, lm: str | None, licence: str) -> ModelCard:
    """Writes a packed run, whole or not at all.

    Args:
      run: the run directory.
      checkpoint: weights to pack.
      path: the file to write.
      dtype: type of the matrices in the file; see `weights.encode`.
      lm: path of an ARPA file to pack; None: none.
      licence: licence of the model, for its card.

    Returns:
      The model card.

    Raises:
      DataError: values that `dtype` has not the range for, or a damaged file of the run.
    """
    data, name = encode(checkpoint.values, dtype), checkpoint.weights.split()[0]
    weights = checkpoint.weights if dtype == 'float32' else checkpoint.weights.replace(')', f', {dtype})')
    read = Path(run.path).joinpath
    files = {part: read(part).read_bytes() for part in (CONFIG_NAME, VOCABULARY_NAME, STATISTICS_NAME)}
    tuned = [
        dataclasses.replace(each, weights=weights if each.weights == checkpoint.weights else each.weights)
        for each in read_tuned(run.path)
    ]
    if tuned:
        text = json.dumps({'language_models': [dataclasses.asdict(each) for each in tuned]}, ensure_ascii=False)
        files[DECODING_NAME] = text.encode()
    card = ModelCard(
        config=run.config,
        tokens=run.vocabulary.tokens,
        name=Path(path).name,
        checkpoint=f'{name} ({checkpoint.which})' if checkpoint.which != name else name,
        num_parameters=sum(value.size for value in checkpoint.values.values()),
        dtype=dtype,
        hours=_hours(run),
        scores=_scores(run, name),
        tuned=find_tuned(tuned, lm) if lm else None,
        lm=Path(lm).name if lm else '',
        licence=licence,
    )
    files |= {CARD_NAME: card.text().encode(), WEIGHTS_NAME: data}
    manifest = Manifest(1, checkpoint.which, name, weights, dtype, {})  # type: ignore[arg-type]
    Path(path).absolute().parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as temporary_path:
        write_archive(temporary_path, manifest, files, lm)
    return card


def _hours(run: Run) -> str:
    """Hours and utterances of the training indexes, if they are still there."""
    try:
        index = read_index(run.config.train.train_files) if run.config.train.train_files else None
    except (DataError, OSError):
        log.warning('the training index cannot be read: the model card does not state the hours of speech')
        return ''
    return '' if index is None else f'{index.durations.sum() / 3600:.2f} hours, {len(index)} utterances'


def _scores(run: Run, name: str) -> dict[str, Any]:
    """Scores of a checkpoint on dev: the records' or, for an average, those of best.json; empty: none are known."""
    best = Checkpoints(run.path).best()
    if best and best['name'] == name:
        return best
    if not name.startswith('model-'):
        return {}
    step = int(name.removeprefix('model-'))
    records = History(run.path, step, '').records
    return next((record for record in records if record['step'] == step), {})
