"""The thread that runs the model: steps of all live streams, and between them batches of uploaded recordings."""

import logging
import threading
import time
from typing import Any

import numpy as np

from models.config import ModelConfig
from utils.audio.resample import SAMPLE_RATE
from utils.data.features import extract
from utils.decode.decoder import load_decoder, warn_of_other_weights
from utils.decode.options import DecodingOptions
from utils.errors import UsageError
from utils.recognition.recognizer import Recognizer, StreamingModel, load_recognizer
from utils.recognition.streaming import StreamingRecognizer, require_one_direction
from utils.run_directory import Run
from utils.serving.limits import ServerOptions
from utils.serving.live import LiveStreams
from utils.serving.uploads import UploadQueue

log = logging.getLogger(__name__)

GATHER_SECS = 0.02  # requests that come within it after a pause share the first batch


class Engine:
    """A model at work.

    Args:
      recognizer: the model for whole recordings.
      streaming: the same for live streams; None: it cannot run live.
      batch_size: pieces of recordings in a batch; while streams are open a quarter, for they wait meanwhile.
      longest_secs: longest piece, seconds.
      most_secs: longest recording, seconds.

    Attributes:
      uploads: queue of recordings.
      streams: live streams.
    """

    def __init__(
        self,
        recognizer: Recognizer,
        streaming: StreamingRecognizer | None,
        batch_size: int,
        longest_secs: float,
        most_secs: float,
    ):
        self._news, self._has_stopped, self._batch_size = threading.Event(), False, batch_size
        self.uploads = UploadQueue(recognizer, longest_secs, most_secs, self._news.set)
        self.streams = LiveStreams(streaming, self._news.set)
        self._thread = threading.Thread(target=self._run, name='model', daemon=True)
        self._thread.start()

    @property
    def is_running(self) -> bool:
        return self._thread.is_alive()

    def stop(self) -> None:
        """Ends the threads; what waits is dropped."""
        self._has_stopped = True
        self._news.set()
        self._thread.join()
        self.uploads.close()

    def _run(self) -> None:
        while self._news.wait() and not self._has_stopped:
            time.sleep(GATHER_SECS)
            self._news.clear()
            is_busy = True
            while is_busy and not self._has_stopped:
                is_busy = self.streams.step()
                most = max(1, self._batch_size // 4) if len(self.streams) else self._batch_size
                is_busy = self.uploads.recognize(most) or is_busy


def refusal_to_stream(config: ModelConfig, name: str) -> str:
    """The reason why a model cannot run live, with the remedy; empty if it can."""
    try:
        require_one_direction(config, name)
    except UsageError as error:
        return str(error)
    return ''


def load_engine(
    run: Run, name: str, decoding: DecodingOptions, options: ServerOptions, batch_size: int, longest_secs: float,
    endpoint_ms: int,
) -> Engine:  # fmt: skip
    """Loads a run's model, and recognises a second of noise, so that the first request finds all compiled.

    Args:
      run: any run.
      name: name of the model.
      decoding: options of decoding.
      options: limits.
      batch_size, longest_secs: as in `Engine`.
      endpoint_ms: silence that ends an utterance of a live stream, milliseconds.

    Raises:
      DataError: the run has no such checkpoint, or a language model cannot be read.
    """
    decoder: Any = load_decoder(decoding, run.vocabulary.tokens)
    recognizer = load_recognizer(run, decoding.checkpoint, decoder)
    warn_of_other_weights(decoding, recognizer.weights)
    streaming = None
    noise = 0.01 * np.random.default_rng(1).standard_normal(SAMPLE_RATE).astype(np.float32)
    recognizer.recognize([extract(noise, recognizer.spec)], 1)
    if not refusal_to_stream(run.config.model, name):
        streaming = StreamingRecognizer(StreamingModel(run, decoding.checkpoint), decoder, endpoint_ms)
        stream = streaming.open()
        streaming.step([(stream, noise)])
        streaming.finish([stream])
    return Engine(recognizer, streaming, batch_size, longest_secs, options.max_audio_seconds)
