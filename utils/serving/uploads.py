"""Queue of uploaded recordings: threads read them piece by piece, and one thread recognises their pieces in batches."""

import contextlib
import logging
import threading
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, InvalidStateError, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from utils.audio.reader import measure
from utils.audio.resample import SAMPLE_RATE
from utils.errors import DataError
from utils.recognition.transcribe import Recording, Transcript, read_pieces, recognize_pieces, transcript_of
from utils.serving.limits import RequestError

if TYPE_CHECKING:
    from utils.recognition.recognizer import Recognizer

log = logging.getLogger(__name__)

NUM_READERS = 2
MOST_PIECES = 8  # of a recording, waiting to be recognised
_UNKNOWN_SECS = 1e9  # the header of a file that was written to a pipe claims more


@dataclass(eq=False)
class Upload:
    """A recording, its pieces (start in seconds, features) that wait, and the transcript to come."""

    recording: Recording
    pieces: Iterator[tuple[float, np.ndarray]]
    waiting: deque = field(default_factory=deque)
    transcript: Future = field(default_factory=Future)
    is_reading: bool = True
    num_running: int = 0


class UploadQueue:
    """Recordings between the server's threads.

    The pieces of a batch come from the recordings in turn, so that a short one does not wait for the end of a long one.
    Of a recording whose future is cancelled, neither reading nor recognition goes on.

    Args:
      recognizer: trained model.
      longest_secs: longest piece, seconds.
      most_secs: longest recording, seconds.
      wake: called when there is a piece to recognise.
    """

    def __init__(self, recognizer: 'Recognizer', longest_secs: float, most_secs: float, wake: Callable[[], None]):
        self._recognizer, self._wake = recognizer, wake
        self._longest_secs, self._most_secs = longest_secs, most_secs
        self._readers = ThreadPoolExecutor(NUM_READERS, 'reader')
        self._lock = threading.Lock()
        self._ready: deque[Upload] = deque()  # recordings with pieces that wait

    def add(self, path: str) -> 'Future[Transcript]':
        """Puts a file in the queue.

        Returns:
          Its transcript, or a `DataError` for a file that cannot be read, a `RequestError` for a recording that is too
          long, or whatever else was raised. Cancelling it takes the recording out of the queue.
        """
        recording = Recording(path)
        upload = Upload(recording, read_pieces(recording, self._recognizer.extract, self._longest_secs))
        self._readers.submit(self._read, upload)
        return upload.transcript

    def recognize(self, most: int) -> bool:
        """Recognises a batch of at most so many pieces, in the thread that owns the model; False: none waits."""
        batch = self._take(most)
        if batch:
            self._run(batch)
        return bool(batch)

    def close(self) -> None:
        self._readers.shutdown(cancel_futures=True)

    def _read(self, upload: Upload) -> None:
        """Reads the next piece, in a reading thread."""
        recording, piece = upload.recording, None
        try:
            if not upload.transcript.cancelled():
                if not recording.num_samples:
                    self._check(measure(recording.file)[1])
                piece = next(upload.pieces, None)
                self._check(recording.num_samples / SAMPLE_RATE)
        except Exception as error:
            _fail(upload, error)
            piece = None
        with self._lock:
            upload.is_reading = False
            if piece:
                upload.waiting.append(piece)
                if len(upload.waiting) == 1:
                    self._ready.append(upload)
                self._read_on(upload)
            is_done = not piece and self._is_done(upload)
        if is_done:
            self._finish(upload)
        self._wake()

    def _check(self, secs: float) -> None:
        if self._most_secs < secs < _UNKNOWN_SECS:
            raise RequestError(
                422, 'audio_too_long',
                f'the recording is longer than {self._most_secs:g} s, the limit of this server; cut it', 'file',
            )  # fmt: skip

    def _read_on(self, upload: Upload) -> None:
        """Has the next piece read, unless enough wait; with the lock held."""
        if not (upload.is_reading or upload.recording.is_read) and len(upload.waiting) < MOST_PIECES:
            upload.is_reading = True
            self._readers.submit(self._read, upload)

    def _is_done(self, upload: Upload) -> bool:
        return not (upload.is_reading or upload.waiting or upload.num_running) and upload.recording.is_read

    def _take(self, most: int) -> list[tuple[Upload, tuple[float, np.ndarray]]]:
        batch: list[tuple[Upload, tuple[float, np.ndarray]]] = []
        with self._lock:
            while self._ready and len(batch) < most:
                upload = self._ready.popleft()
                if upload.transcript.done():  # cancelled, or failed
                    upload.waiting.clear()
                    continue
                batch.append((upload, upload.waiting.popleft()))
                upload.num_running += 1
                if upload.waiting:
                    self._ready.append(upload)
                self._read_on(upload)
        return batch

    def _run(self, batch: list[tuple[Upload, tuple[float, np.ndarray]]]) -> None:
        try:
            pieces = [(upload.recording, *piece) for upload, piece in batch]
            recognize_pieces(pieces, self._recognizer, len(pieces))
        except Exception as error:
            if len(batch) > 1:  # the others of the batch must not suffer
                for each in batch:
                    self._run([each])
                return
            log.exception('recognition fails')
            _fail(batch[0][0], error)
        with self._lock:
            for upload, _ in batch:
                upload.num_running -= 1
            done = {id(upload): upload for upload, _ in batch if self._is_done(upload)}
        for upload in done.values():
            self._finish(upload)

    def _finish(self, upload: Upload) -> None:
        found = transcript_of(upload.recording, self._recognizer)
        if isinstance(found, DataError):
            _fail(upload, found)
            return
        with contextlib.suppress(InvalidStateError):  # cancelled
            upload.transcript.set_result(found)


def _fail(upload: Upload, error: Exception) -> None:
    with contextlib.suppress(InvalidStateError):
        upload.transcript.set_exception(error)
