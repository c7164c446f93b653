"""The directory of an export: the model, its vocabulary, an example that calls it, and a README."""

import contextlib
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from models.config import ModelConfig
from utils.audio.checks import silent_stderr
from utils.data.vocabulary import VOCABULARY_NAME
from utils.errors import DataError, UsageError
from utils.recognition.streaming import require_one_direction
from utils.run_directory import Run

if TYPE_CHECKING:
    from utils.export.graphs import RunGraph

TFLITE_NAME, EXAMPLE_NAME, README_NAME = 'model.tflite', 'example.py', 'README.md'
SAVED_MODEL_NAMES = {'saved_model.pb', 'fingerprint.pb', 'variables', 'assets'}
NAMES = {TFLITE_NAME, EXAMPLE_NAME, README_NAME, VOCABULARY_NAME, '__pycache__', *SAVED_MODEL_NAMES}


@dataclass(frozen=True)
class ExportOptions:
    """Form of an export.

    Attributes:
      format: saved_model or tflite.
      quantization: type of the weights of TFLite: none (float32) or int8.
      chunk_frames: output frames of a chunk of a TFLite model that streams; 0: whole utterances.
    """

    format: str = 'saved_model'
    quantization: str = 'none'
    chunk_frames: int = 0

    def check(self, model: ModelConfig, run_dir: str) -> None:
        """Raises a `UsageError` for a form that the model cannot have."""
        is_tflite = self.format == 'tflite'
        for flag, is_given in (('--quantize int8', self.quantization != 'none'), ('--stream', self.chunk_frames)):
            if is_given and not is_tflite:
                raise UsageError(f'{flag} is for TFLite; give --format tflite, or leave it out')
        if is_tflite and model.family == 'attention':
            raise UsageError(
                f'{run_dir} holds {model.model}, whose speller has no TFLite form; give --format saved_model, or a run '
                f'of ds1 or ds2'
            )
        if self.chunk_frames:
            require_one_direction(model, run_dir)


def export(run: Run, checkpoint: str, directory: str, options: ExportOptions) -> int:
    """Writes a model whole, or not at all; an earlier export in the directory is replaced.

    Args:
      run: the run.
      checkpoint: `best`, `latest` or `average`.
      directory: directory to write, new, empty, or of an earlier export.
      options: form of the model.

    Returns:
      Size of the model in bytes.

    Raises:
      UsageError: a form that the model cannot have.
      DataError: no such checkpoint, or a directory with other files.
    """
    options.check(run.config.model, run.path)
    _check_is_free(Path(directory))
    from utils.export import page
    from utils.export.graphs import RunGraph

    graph = RunGraph(run, checkpoint)
    with _replacing_directory(Path(directory)) as new:
        with silent_stderr():  # TensorFlow logs its progress there
            example, details = _write_model(graph, new, options)
        run.vocabulary.write(str(new / VOCABULARY_NAME))
        shutil.copyfile(Path(__file__).parent / 'examples' / f'{example}.py', new / EXAMPLE_NAME)
        (new / README_NAME).write_text(page.readme(graph, example, details), encoding='utf-8')
        sizes = [path.stat().st_size for name in (TFLITE_NAME, *SAVED_MODEL_NAMES) for path in _files(new / name)]
    return sum(sizes)


def _write_model(graph: 'RunGraph', new: Path, options: ExportOptions) -> tuple[str, dict]:
    """Writes the model; returns the name of its example, and numbers for its README."""
    if options.format == 'saved_model':
        from utils.export.saved_model import write_saved_model

        write_saved_model(graph, new)
        return 'saved_model', {}
    from utils.export import tflite

    details = {'quantization': options.quantization, 'chunk_samples': 0, 'state_size': 0}
    if options.chunk_frames:
        function, details['chunk_samples'], details['state_size'] = tflite.chunks(graph, options.chunk_frames)
    else:
        function = tflite.whole_utterances(graph)
    (new / TFLITE_NAME).write_bytes(tflite.convert(graph, function, options.quantization))
    return 'tflite_stream' if options.chunk_frames else 'tflite', details


def _files(path: Path) -> list[Path]:
    return [path] if path.is_file() else [each for each in path.rglob('*') if each.is_file()]


def _check_is_free(path: Path) -> None:
    """Raises a `DataError` for a directory with files that no export has."""
    if path.is_dir():
        others = sorted({each.name for each in path.iterdir()} - NAMES)
        if others:
            raise DataError(f'{path}: holds other files than an export ({others[0]}); name another directory')
    elif path.exists() or path.is_symlink():
        raise DataError(f'{path}: exists and is no directory; name another')


@contextlib.contextmanager
def _replacing_directory(path: Path) -> Iterator[Path]:
    """Yields a new directory beside ``path``; puts it in that place in the end, or removes it after a failure."""
    path = Path(os.path.abspath(path))
    new, old = (path.with_name(f'.{path.name}.{os.getpid()}.{suffix}') for suffix in ('new', 'old'))
    try:
        new.mkdir(parents=True)
        yield new
        if path.exists():
            os.rename(path, old)
        os.rename(new, path)
    finally:
        shutil.rmtree(new, ignore_errors=True)
        shutil.rmtree(old, ignore_errors=True)
