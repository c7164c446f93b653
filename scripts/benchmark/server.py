"""Server under load: requests and audio a second, streams in real time, and the memory of the process.

Starts scripts/serve.py, uploads recordings (AN4 dev by default) from several clients at once, every tenth one damaged,
and prints a row after each tenth of the requests. Then streams come at once at the speed of speech; their delay is the
time from the end of a recording to the last text. Processor time, which other work on the machine changes little, is
that of the server by the length of the audio.
"""

import argparse
import asyncio
import json
import os
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from measuring import ROOT, import_tensorflow, machine

from utils.cli import Parser, count
from utils.errors import DataError, run_main

NUM_ROWS = 10
CHUNK_SECS = 0.1


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = Parser(prog='server.py', description=__doc__.split('\n\n')[0])
    what = "run of a ds2 of one direction (default: random weights, of the size of AN4's)"
    parser.add_argument('-s', '--savepath', metavar='RUN', help=what)
    default = os.environ.get('AN4') or str(Path.home() / 'corpus/an4')
    parser.add_argument('--audio', default=f'{default}/dev-clean', metavar='DIR', help='recordings')
    parser.add_argument('--requests', type=count, default=1000, help='number of uploads')
    parser.add_argument('--clients', type=count, default=8, help='uploads at once')
    parser.add_argument('--streams', type=count, default=20, help='live streams at once')
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    args = parse_args(argv)
    paths = sorted(Path(args.audio).rglob('*.flac'))
    if not paths:
        raise DataError(f'{args.audio}: no FLAC below it; name recordings with --audio')
    print(f'{machine()}; {args.clients} clients, {len(paths)} recordings, every tenth request damaged\n')
    with tempfile.TemporaryDirectory() as directory:
        if not args.savepath:
            from streaming import random_run

            random_run(import_tensorflow(), directory)
        command = [sys.executable, str(ROOT / 'scripts/serve.py'), '-s', args.savepath or directory, '--port', '0']
        log_path = Path(directory) / 'log'
        with open(log_path, 'w') as log, subprocess.Popen(command, stderr=log) as process:
            try:
                url = address(process, log_path)
                upload_all(url, process.pid, paths, args.requests, args.clients)
                asyncio.run(stream_all(url, process.pid, paths[: args.streams], args.streams))
            finally:
                process.send_signal(signal.SIGTERM)
        print(f'\nexit status after SIGTERM: {process.returncode}')
    return 0


def address(process: subprocess.Popen, log_path: Path) -> str:
    """The address of a server, as soon as it is ready."""
    while not (found := re.search(r'serving .* at (\S+)', log_path.read_text())):
        if process.poll() is not None:
            raise DataError(f'the server does not start: {log_path.read_text()}')
        time.sleep(0.1)
    return found[1]


def resident_mb(pid: int) -> float:
    status = Path(f'/proc/{pid}/status').read_text()
    return int(re.search(r'VmRSS:\s+(\d+)', status)[1]) / 1024


def processor_secs(pid: int) -> float:
    fields = Path(f'/proc/{pid}/stat').read_text().rpartition(')')[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf('SC_CLK_TCK')


def upload(url: str, data: bytes) -> int:
    """The status of a request for a transcript."""
    head = b'--x\r\nContent-Disposition: form-data; name="file"; filename="a.flac"\r\n\r\n'
    form = {'Content-Type': 'multipart/form-data; boundary=x'}
    request = urllib.request.Request(f'{url}/v1/audio/transcriptions', head + data + b'\r\n--x--\r\n', form)
    try:
        with urllib.request.urlopen(request) as response:
            response.read()
            return response.status
    except urllib.error.HTTPError as error:
        error.read()
        return error.code


def upload_all(url: str, pid: int, paths: list[Path], num_requests: int, num_clients: int) -> None:
    import soundfile

    sounds = [(path.read_bytes(), soundfile.info(path).duration) for path in paths]

    def send(number: int) -> tuple[int, float]:
        data, secs = sounds[number % len(sounds)]
        is_damaged = number % 10 == 9
        status = upload(url, data[: len(data) // 2] if is_damaged else data)
        if (status == 200) == is_damaged:
            raise DataError(f'request {number}: status {status}')
        return status, 0 if is_damaged else secs

    print('| requests | a second | processor time | resident memory |\n|---|---|---|---|')
    print(f'| 0 | | | {resident_mb(pid):.0f} MiB |', flush=True)
    size = -(-num_requests // NUM_ROWS)
    with ThreadPoolExecutor(num_clients) as pool:
        for first in range(0, num_requests, size):
            start, processor = time.perf_counter(), processor_secs(pid)
            numbers = range(first, min(first + size, num_requests))
            secs = sum(each for _, each in pool.map(send, numbers))
            elapsed, processor = time.perf_counter() - start, processor_secs(pid) - processor
            print(f'| {numbers[-1] + 1} | {len(numbers) / elapsed:.1f} | {processor / secs:.3f} | '
                  f'{resident_mb(pid):.0f} MiB |', flush=True)  # fmt: skip


async def stream_all(url: str, pid: int, paths: list[Path], number: int) -> None:
    import soundfile

    sounds = [soundfile.read(path, dtype='int16') for path in paths]
    processor = processor_secs(pid)
    delays = await asyncio.gather(*(stream(url, *sounds[i % len(sounds)], i) for i in range(number)))
    secs = sum(len(sounds[i % len(sounds)][0]) / sounds[i % len(sounds)][1] for i in range(number))
    processor = (processor_secs(pid) - processor) / secs
    print(f'\n{number} streams at once, at the speed of speech: processor time {processor:.3f} of the audio of each; '
          f'the last text {1000 * statistics.median(delays):.0f} ms after the end (median), '
          f'{1000 * max(delays):.0f} ms at most; {resident_mb(pid):.0f} MiB')  # fmt: skip


async def stream(url: str, samples, rate: int, number: int) -> float:
    """Seconds from the end of a recording to its last text."""
    from websockets.asyncio.client import connect

    await asyncio.sleep(number % 10 * CHUNK_SECS / 10)
    async with connect(f'{url.replace("http", "ws")}/v1/stream?sample_rate={rate}') as websocket:
        start, chunk = time.perf_counter(), int(CHUNK_SECS * rate)
        for first in range(0, len(samples), chunk):
            await websocket.send(samples[first : first + chunk].tobytes())
            await asyncio.sleep(max(0.0, start + (first + chunk) / rate - time.perf_counter()))
        end = time.perf_counter()
        await websocket.send('{"type": "end"}')
        async for message in websocket:
            if json.loads(message)['type'] == 'error':
                raise DataError(message)
        return time.perf_counter() - end


if __name__ == '__main__':
    sys.exit(run_main(main))
