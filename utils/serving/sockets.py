"""The websocket ``/v1/stream``: 16-bit samples in, partial and final texts out."""

import asyncio
import contextlib
import json

import numpy as np
from starlette.websockets import WebSocket, WebSocketDisconnect

from utils.serving.limits import ServerOptions
from utils.serving.live import DONE, Farewell, LiveStream, LiveStreams, failure

RATES = range(1000, 768_001)
MAX_MESSAGE_BYTES = 1 << 20
STOPPING = Farewell({'type': 'done'}, 1001)  # the server stops; the texts so far have been sent
CLOSE_SECS = 60  # for the last texts, and for a client to take them


class LiveSockets:
    """Websockets of live streams.

    Args:
      streams: streams of the engine.
      options: limits.
      refusal: reason why the model cannot run live; empty if it can.
    """

    def __init__(self, streams: LiveStreams, options: ServerOptions, refusal: str):
        self._streams, self._options, self._refusal = streams, options, refusal
        self._open: set[asyncio.Task] = set()
        self._is_stopping = asyncio.Event()

    async def endpoint(self, websocket: WebSocket) -> None:
        """Serves one websocket until it is closed; a fault is told in a message of the type ``error``."""
        task = asyncio.current_task()
        assert task
        await websocket.accept()
        sample_rate, refusal = self._admit(websocket)
        if refusal:
            with contextlib.suppress(WebSocketDisconnect, RuntimeError):
                await _close(websocket, refusal)
            return
        self._open.add(task)
        stream = self._streams.open(sample_rate)
        try:
            await self._serve(websocket, stream)
        finally:
            self._streams.drop(stream)
            self._open.discard(task)

    async def end_all(self) -> None:
        """Refuses new streams, and ends the open ones after the texts of what they have sent."""
        self._is_stopping.set()
        if self._open:
            await asyncio.wait(self._open)

    def _admit(self, websocket: WebSocket) -> tuple[int, Farewell | None]:
        """Sample rate of a new stream, and the reason why it cannot be opened."""
        text = websocket.query_params.get('sample_rate', '16000')
        rate = int(text) if text.isascii() and text.isdigit() and len(text) < 9 else 0
        if self._refusal:
            return rate, failure(self._refusal, 1008)
        if rate not in RATES:
            return rate, failure(
                f'sample_rate {text[:20]!r} is not an integer from {RATES[0]} to {RATES[-1]} samples a second', 1008
            )
        if self._is_stopping.is_set():
            return rate, failure('the server is stopping; try again when it is back', 1013)
        if len(self._open) >= self._options.max_streams:
            return rate, failure(
                f'{len(self._open)} streams are open, the limit of this server; try again later', 1013
            )
        return rate, None

    async def _serve(self, websocket: WebSocket, stream: LiveStream) -> None:
        receiver = asyncio.create_task(self._receive(websocket, stream))
        sender = asyncio.create_task(self._send(websocket, stream))
        stopping = asyncio.create_task(self._is_stopping.wait())
        tasks = {receiver, sender, stopping}
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            if sender.done():  # the recogniser failed, or the client is gone
                return
            farewell = receiver.result() if receiver.done() else STOPPING
            if farewell:
                self._streams.end(stream, farewell)
                await asyncio.wait({sender}, timeout=CLOSE_SECS)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _receive(self, websocket: WebSocket, stream: LiveStream) -> Farewell | None:
        """Takes samples until the recording ends; returns how to close it, None if the client is gone."""
        most_secs, num_samples = self._options.max_audio_seconds, 0
        while True:
            try:
                async with asyncio.timeout(self._options.timeout):
                    message = await websocket.receive()
            except TimeoutError:
                return failure(f'no message for {self._options.timeout:g} s; open another stream', 1008)
            if message['type'] == 'websocket.disconnect':
                return None
            if (text := message.get('text')) is not None:
                return DONE if _is_end(text) else failure(
                    'a text message that is not {"type": "end"}; send samples as binary messages', 1003
                )  # fmt: skip
            data = message['bytes']
            if len(data) > MAX_MESSAGE_BYTES:
                return failure(f'a message of {len(data)} bytes; send at most {MAX_MESSAGE_BYTES}', 1009)
            if len(data) % 2:
                return failure(f'a message of {len(data)} bytes; send whole 16-bit samples', 1003)
            num_samples += len(data) // 2
            if num_samples > most_secs * stream.sample_rate:
                return failure(
                    f'the recording is longer than {most_secs:g} s, the limit of this server; open another stream', 1008
                )
            if data:
                self._streams.add(stream, np.frombuffer(data, '<i2').astype(np.int16))
                await stream.has_room.wait()

    async def _send(self, websocket: WebSocket, stream: LiveStream) -> None:
        """Sends what is in the outbox until the farewell."""
        with contextlib.suppress(WebSocketDisconnect, RuntimeError):  # the client is gone
            while True:
                await stream.has_news.wait()
                stream.has_news.clear()
                while stream.outbox:
                    await websocket.send_text(json.dumps(stream.outbox.popleft(), ensure_ascii=False))
                if stream.farewell and not stream.outbox:
                    await _close(websocket, stream.farewell)
                    return


def _is_end(text: str) -> bool:
    try:
        message = json.loads(text)
    except (ValueError, RecursionError):
        return False
    return isinstance(message, dict) and message.get('type') in ('end', 'flush')


async def _close(websocket: WebSocket, farewell: Farewell) -> None:
    await websocket.send_text(json.dumps(farewell.message))
    await websocket.close(farewell.code, _reason(farewell.message.get('message', '')))


def _reason(text: str) -> str:
    """A text as the reason of a close frame, which has room for 123 bytes."""
    return text.encode()[:123].decode(errors='ignore')
