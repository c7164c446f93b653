"""Live transcription in a terminal: audio from a file or a pipe, final texts on stdout, the text so far on stderr."""

import json
import os
import shutil
import signal
import sys
import unicodedata
from typing import Any, TextIO

from utils.audio.checks import Levels
from utils.audio.pcm import read_pcm
from utils.decode.decoder import load_decoder, warn_of_other_weights
from utils.decode.options import DecodingOptions
from utils.errors import DataError
from utils.recognition.live_options import LiveOptions
from utils.recognition.streaming import StreamingRecognizer, Utterance, require_one_direction
from utils.run_directory import Run
from utils.system import import_tensorflow


class Input:
    """A file or standard input (``-``) that Ctrl-C ends within ``with``; a second Ctrl-C interrupts.

    Raises:
      DataError: no such file, or a terminal as standard input.
    """

    def __init__(self, path: str):
        self.name = 'stdin' if path == '-' else path
        if path == '-' and sys.stdin.isatty():
            raise DataError('--stream -: standard input is a terminal; send audio to it, such as arecord -f S16_LE '
                            '-r 16000 -t raw | run_predict.py ...')  # fmt: skip
        if path != '-' and os.path.isdir(path):
            raise DataError(f'{path}: a directory; name a file, or - for standard input')
        self._descriptor = sys.stdin.fileno() if path == '-' else os.open(path, os.O_RDONLY)
        self._is_reading = self._has_ended = False

    def __enter__(self) -> 'Input':
        self._old = signal.signal(signal.SIGINT, self._end)
        return self

    def __exit__(self, *_) -> None:
        signal.signal(signal.SIGINT, self._old)

    def read(self, size: int) -> bytes:
        """What there is, at most so many bytes; none at the end or after Ctrl-C."""
        try:
            self._is_reading = True
            return b'' if self._has_ended else os.read(self._descriptor, size)
        except _EndedError:
            return b''
        finally:
            self._is_reading = False

    def is_cut(self) -> bool:
        """Whether Ctrl-C ended it."""
        return self._has_ended

    def _end(self, *_) -> None:
        self._has_ended = True
        signal.signal(signal.SIGINT, self._old)
        if self._is_reading:
            raise _EndedError


class _EndedError(Exception):
    pass


class Screen:
    """Final texts a line each on stdout, and the text so far on one line of the terminal, if stderr is one."""

    def __init__(self, as_json: bool, terminal: TextIO | None = None):
        self._as_json, self._terminal = as_json, terminal or sys.stderr
        self._shows_partials = self._terminal.isatty()

    def show(self, utterances: list[Utterance]) -> None:
        for each in utterances:
            if each.is_final:
                self.clear()
                print(json.dumps(each.to_json(), ensure_ascii=False) if self._as_json else each.text, flush=True)
        if self._shows_partials and utterances and not utterances[-1].is_final:
            self._write('\r' + last_columns(utterances[-1].text, shutil.get_terminal_size().columns - 1) + '\x1b[K')

    def clear(self) -> None:
        if self._shows_partials:
            self._write('\r\x1b[K')

    def _write(self, text: str) -> None:
        self._terminal.write(text)
        self._terminal.flush()


def last_columns(text: str, columns: int) -> str:
    """The end of a text that fits on a line of a terminal; wide characters take two columns."""
    for start in range(len(text) - 1, -1, -1):
        columns -= 2 if unicodedata.east_asian_width(text[start]) in 'WF' else 1
        if columns < 0:
            return text[start + 1 :]
    return text


def transcribe_live(run: Run, decoding: DecodingOptions, options: LiveOptions, as_json: bool) -> int:
    """Recognises a file or pipe until its end or Ctrl-C, and prints every utterance as soon as it ends.

    Args:
      run: run of a ds2 of one direction.
      decoding: options of decoding.
      options: the audio, and the silence that ends an utterance.
      as_json: whether to print utterances as JSON.

    Returns:
      Exit status 0.

    Raises:
      UsageError: another model.
      DataError: no audio, or damaged; what was recognised before is printed.
    """
    require_one_direction(run.config.model, run.path)
    source = Input(options.stream)
    decoder: Any = load_decoder(decoding, run.vocabulary.tokens)
    import_tensorflow()
    from utils.recognition.recognizer import StreamingModel

    model = StreamingModel(run, decoding.checkpoint)
    warn_of_other_weights(decoding, model.weights)
    with source:
        recognizer = StreamingRecognizer(model, decoder, options.endpoint_ms)
        show_live(source, recognizer, options.stream_rate, Screen(as_json))
    return 0


def show_live(source: Input, recognizer: StreamingRecognizer, sample_rate: int, screen: Screen) -> None:
    """Recognises audio until its end; raises a `DataError` for damage, after what was recognised has been shown."""
    rate, blocks = read_pcm(source.read, source.name, sample_rate)
    stream, levels, failure = recognizer.open(rate), Levels(), None
    try:
        for samples in blocks:
            levels.add(samples[:, None])
            screen.show(recognizer.step([(stream, samples)])[0])
    except DataError as error:
        failure = None if source.is_cut() else error  # Ctrl-C may come within a sample
    screen.show(recognizer.finish([stream])[0])
    screen.clear()
    if failure:
        raise failure if source.name in str(failure) else DataError(f'{source.name}: {failure}')
