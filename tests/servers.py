"""Servers of scripts/serve.py in processes of their own, and clients of them."""

import contextlib
import io
import json
import re

import httpx
import numpy as np
import soundfile
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from tests.processes import Process


def _main(*arguments):
    from scripts import serve

    return serve.main(arguments)


class Server(Process):
    """A server of a run on a free port, ready for requests.

    Attributes:
      url: address without a path.
    """

    def __init__(self, log_path, run_dir, *flags):
        super().__init__(log_path, _main, '-s', str(run_dir), '--port', '0', *map(str, flags))
        self.wait_for('serving ')
        self.url = re.search(r'http://\S+', self.log)[0]

    def post(self, data, timeout=120, **fields):
        """Uploads a recording with further fields; the response."""
        return post(self.url, data, timeout, **fields)

    def stream(self, samples, rate=16000, chunk=1600, **settings):
        """Sends samples in chunks, then the end; the messages, and the code of the close."""
        with self.connect(rate, **settings) as websocket:
            with contextlib.suppress(ConnectionClosed):
                for first in range(0, len(samples), chunk):
                    websocket.send(samples[first : first + chunk].astype('<i2').tobytes())
                websocket.send('{"type": "end"}')
            return receive_all(websocket)

    def connect(self, rate=16000, **settings):
        return connect(f'{self.url.replace("http", "ws")}/v1/stream?sample_rate={rate}', **settings)

    @property
    def resident_kib(self):
        """Memory of the process."""
        with open(f'/proc/{self._process.pid}/status') as status:
            return int(re.search(r'VmRSS:\s+(\d+)', status.read())[1])


def post(url, data, timeout=120, **fields):
    files = {'file': ('speech.flac', data, 'application/octet-stream')}
    return httpx.post(f'{url}/v1/audio/transcriptions', files=files, data=fields, timeout=timeout)


def receive_all(websocket, timeout=60):
    """The messages of a websocket until it is closed, and the code of the close."""
    messages = []
    try:
        while True:
            messages.append(json.loads(websocket.recv(timeout)))
    except ConnectionClosed as closed:
        return messages, closed.rcvd and closed.rcvd.code


def flac(samples, rate=16000):
    """A FLAC of int16 samples."""
    buffer = io.BytesIO()
    soundfile.write(buffer, samples, rate, format='FLAC')
    return buffer.getvalue()


def noise(secs, seed=1):
    """Noise that changes its loudness, int16 at 16 kHz."""
    rng, num_samples = np.random.default_rng(seed), int(16000 * secs)
    envelope = 1 + np.sin(np.arange(num_samples) * rng.uniform(0.0005, 0.002))
    return (1500 * envelope * rng.standard_normal(num_samples)).astype(np.int16)
