"""Live streams between the server's event loop, which gives samples, and the thread that recognises them in batches."""

import asyncio
import contextlib
import logging
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from utils.recognition.streaming import Stream, StreamingRecognizer, Utterance

log = logging.getLogger(__name__)

MOST_SECS = 10.0  # audio of a stream that waits; a client that sends faster has to wait
STEP_SECS = 1.0  # audio of a stream in one step, so that those that send faster than real time do not stop the others


class Farewell(NamedTuple):
    """Last message of a stream, and the code that its websocket is closed with."""

    message: dict[str, str]
    code: int


def failure(message: str, code: int) -> Farewell:
    """The end of a stream with an error; the code is one of RFC 6455, section 7.4."""
    return Farewell({'type': 'error', 'message': message}, code)


DONE = Farewell({'type': 'done'}, 1000)


@dataclass(eq=False)
class LiveStream:
    """A recording that comes in chunks.

    The event loop owns ``outbox`` and the events; the other fields belong to `LiveStreams`.

    Attributes:
      sample_rate: samples a second.
      outbox: messages for the client; a newer partial text takes the place of one that has not been sent.
      has_news: set when something has been put into the outbox, or the stream is closed.
      has_room: cleared while too much audio waits.
      farewell: set once no more messages come.
    """

    sample_rate: int
    loop: asyncio.AbstractEventLoop
    outbox: deque[dict[str, Any]] = field(default_factory=deque)
    has_news: asyncio.Event = field(default_factory=asyncio.Event)
    has_room: asyncio.Event = field(default_factory=asyncio.Event)
    farewell: Farewell | None = None
    samples: list[np.ndarray] = field(default_factory=list)
    num_waiting: int = 0
    ending: Farewell | None = None  # how it is to be closed after the samples that wait
    stream: Stream | None = None

    def take(self) -> np.ndarray:
        """The next samples, at most `STEP_SECS`; with the lock of `LiveStreams` held."""
        samples = np.concatenate(self.samples)
        most = max(1, int(STEP_SECS * self.sample_rate))
        self.samples = [samples[most:]] if len(samples) > most else []
        self.num_waiting = len(samples) - len(samples[:most])
        return samples[:most]

    def deliver(self, utterances: list[Utterance], farewell: Farewell | None) -> None:
        """Puts texts into the outbox, in the event loop."""
        for each in utterances:
            if self.outbox and self.outbox[-1]['type'] == 'partial':
                self.outbox.pop()
            self.outbox.append({'type': 'final' if each.is_final else 'partial', **each.to_json()})
        if farewell:
            self.farewell = self.farewell or farewell
        self.has_news.set()
        self.has_room.set()


class LiveStreams:
    """The open streams.

    Args:
      recognizer: recogniser of a model of one direction; None: the model cannot run live, and no stream is opened.
      wake: called when there is something to recognise.
    """

    def __init__(self, recognizer: StreamingRecognizer | None, wake: Callable[[], None]):
        self._recognizer, self._wake = recognizer, wake
        self._lock = threading.Lock()
        self._streams: list[LiveStream] = []

    def __len__(self) -> int:
        return len(self._streams)

    def open(self, sample_rate: int) -> LiveStream:
        stream = LiveStream(sample_rate, asyncio.get_running_loop())
        stream.has_room.set()
        with self._lock:
            self._streams.append(stream)
        return stream

    def add(self, stream: LiveStream, samples: np.ndarray) -> None:
        """Appends int16 samples; the event ``has_room`` is cleared if too many wait now."""
        with self._lock:
            stream.samples.append(samples)
            stream.num_waiting += len(samples)
            if stream.num_waiting > MOST_SECS * stream.sample_rate:
                stream.has_room.clear()
        self._wake()

    def end(self, stream: LiveStream, farewell: Farewell) -> None:
        """Ends a recording: the texts of what was added are delivered, then the farewell."""
        with self._lock:
            stream.ending = stream.ending or farewell
        self._wake()

    def drop(self, stream: LiveStream) -> None:
        """Forgets a stream, with what waits."""
        with self._lock:
            if stream in self._streams:
                self._streams.remove(stream)

    def step(self) -> bool:
        """Recognises what all streams have sent, in one batch, in the thread that owns the model; False: nothing."""
        assert self._recognizer or not self._streams
        with self._lock:
            adding = [(each, each.take()) for each in self._streams if each.num_waiting]
            ending = [each for each in self._streams if each.ending and not each.num_waiting]
            for each in ending:
                self._streams.remove(each)
        if self._recognizer and adding:
            self._advance(self._recognizer, adding)
        if self._recognizer and ending:
            self._finish(self._recognizer, ending)
        return bool(adding or ending)

    def _advance(self, recognizer: StreamingRecognizer, adding: list[tuple[LiveStream, np.ndarray]]) -> None:
        streams = [live for live, _ in adding]
        try:
            for live in streams:
                live.stream = live.stream or recognizer.open(live.sample_rate)
            found = recognizer.step([(live.stream, samples) for live, samples in adding if live.stream])
        except Exception:
            self._fail(streams)
            return
        for live, utterances in zip(streams, found, strict=True):
            _deliver(live, utterances)

    def _finish(self, recognizer: StreamingRecognizer, ending: list[LiveStream]) -> None:
        heard = [live for live in ending if live.stream and not live.farewell]
        try:
            found = recognizer.finish([live.stream for live in heard if live.stream])
        except Exception:
            self._fail(heard)
            found = [[] for _ in heard]
        texts = {id(live): utterances for live, utterances in zip(heard, found, strict=True)}
        for live in ending:
            _deliver(live, texts.get(id(live), []), live.ending)

    def _fail(self, streams: list[LiveStream]) -> None:
        """Closes streams after a fault of the recogniser, whose states may be any."""
        log.exception('live recognition fails')
        for each in streams:
            self.drop(each)
            _deliver(each, [], failure('the recogniser failed; its log has the reason. Open another stream', 1011))


def _deliver(live: LiveStream, utterances: list[Utterance], farewell: Farewell | None = None) -> None:
    with contextlib.suppress(RuntimeError):  # the event loop has ended
        live.loop.call_soon_threadsafe(live.deliver, utterances, farewell)
