"""The server: transcripts and live texts equal to those of the commands, limits, faults, and its end."""

import io
import json
import random
import signal
import socket
import time
from concurrent.futures import ThreadPoolExecutor

import httpx
import numpy as np
import openai
import pytest
import soundfile
from websockets.exceptions import InvalidStatus

from scripts import serve
from tests.live_runs import write_live_run
from tests.servers import Server, flac, noise, post, receive_all
from utils.errors import DataError, run_main
from utils.recognition.transcribe import transcribe

NUM_UPLOADS, NUM_STREAMS, NUM_DAMAGED = 50, 20, 200
SOUNDS = [noise(secs, seed) for seed, secs in enumerate([0.5, 1.7, 3.1, 0.9, 2.2, 4.0, 1.1, 21.0])]


@pytest.fixture(scope='module')
def run_dir(tmp_path_factory):
    return write_live_run(tmp_path_factory.mktemp('server') / 'tiny', activation='tanh').path


@pytest.fixture(scope='module')
def server(run_dir, tmp_path_factory):
    # the limit of live texts is that of the recording, so that they equal those of the whole
    found = Server(tmp_path_factory.mktemp('server') / 'log', run_dir, '--endpoint_ms', 0, '--max_waiting', 64)
    yield found
    found.kill()


@pytest.fixture(scope='module')
def small(tmp_path_factory):
    """A server of a model of both directions with narrow limits."""
    run = write_live_run(tmp_path_factory.mktemp('server') / 'both', bidirectional=True)
    flags = ['--max_upload_mb', 0.2, '--max_audio_seconds', 5, '--max_waiting', 1, '--timeout', 5]
    found = Server(tmp_path_factory.mktemp('server') / 'log', run.path, *flags)
    yield found
    found.kill()


@pytest.fixture(scope='module')
def texts(run_dir, tmp_path_factory):
    """Transcripts of `SOUNDS` by run_predict.py's function."""
    from utils.recognition.recognizer import load_recognizer
    from utils.run_directory import Run

    paths = []
    for number, samples in enumerate(SOUNDS):
        paths.append(tmp_path_factory.mktemp('sounds') / f'{number}.flac')
        paths[-1].write_bytes(flac(samples))
    found = [each.text for each in transcribe(map(str, paths), load_recognizer(Run.open(run_dir)), 8)]
    assert len(set(found)) == len(SOUNDS)
    return found


def error(response, status):
    """The error of a response in OpenAI's form, a single sentence or two."""
    assert response.status_code == status, response.text
    found = response.json()['error']
    assert sorted(found) == ['code', 'message', 'param', 'type']
    assert '\n' not in found['message'] and 10 < len(found['message']) < 300
    return found['message']


def test_uploads_at_once_get_the_texts_of_the_command(server, texts):
    sounds = [flac(each) for each in SOUNDS]
    with ThreadPoolExecutor(NUM_UPLOADS) as pool:
        found = list(pool.map(lambda i: server.post(sounds[i % len(sounds)]), range(NUM_UPLOADS)))
    assert [each.status_code for each in found] == [200] * NUM_UPLOADS
    assert [each.json()['text'] for each in found] == [texts[i % len(texts)] for i in range(NUM_UPLOADS)]


def test_streams_at_once_get_the_texts_of_the_command(server, texts):
    def stream(i):
        number = i % 7  # whole recordings longer than 20 s are cut
        return server.stream(SOUNDS[number], chunk=random.Random(i).randrange(160, 5000)), texts[number]

    with ThreadPoolExecutor(NUM_STREAMS) as pool:
        results = list(pool.map(stream, range(NUM_STREAMS)))
    for (messages, code), text in results:
        assert code == 1000
        kinds = [each['type'] for each in messages]
        assert kinds[-2:] == ['final', 'done'] and set(kinds[:-2]) <= {'partial'}
        assert messages[-2]['text'] == text
        assert sorted(messages[-2]['words'][0]) == ['confidence', 'end', 'start', 'word']
    assert any(len(messages) > 2 for (messages, _), _ in results)


def test_the_client_of_openai_reads_every_format(server, texts):
    client = openai.OpenAI(base_url=f'{server.url}/v1', api_key='none', max_retries=0)

    def create(**options):
        return client.audio.transcriptions.create(model='whisper-1', file=('a.flac', flac(SOUNDS[1])), **options)

    assert create().text == create(prompt='Hm', temperature=0.3).text == texts[1]
    assert create(response_format='text') == f'{texts[1]}\n'
    assert f' --> 00:00:01,700\n{texts[1][:5]}' in create(response_format='srt')
    assert create(response_format='vtt').startswith('WEBVTT\n\n00:00:0')
    found = create(response_format='verbose_json', timestamp_granularities=['word', 'segment'], language='en')
    assert (found.text, found.duration, found.language) == (texts[1], 1.7, 'en')
    assert ' '.join(each.word for each in found.words) == ' '.join(each.text for each in found.segments) == texts[1]
    assert found.segments[0].avg_logprob < 0
    assert all(0 <= each.start <= each.end <= 1.7 and 0 < each.confidence <= 1 for each in found.words)
    found = create(response_format='verbose_json', timestamp_granularities=['segment'])
    assert found.words is None and found.segments
    assert [each.id for each in client.models.list()] == [client.models.retrieve('tiny').id] == ['tiny']
    with pytest.raises(openai.NotFoundError, match="only 'tiny'"):
        client.models.retrieve('other')


def test_info_describes_model_and_limits(server, small):
    found = httpx.get(f'{server.url}/v1/info').json()
    limits = {'upload_bytes': 100_000_000, 'audio_seconds': 3600, 'streams': 32}
    expected = {'model': 'tiny', 'streaming': True, 'reason': '', 'sample_rate': 16000, 'limits': limits}
    assert found == expected
    found = httpx.get(f'{small.url}/v1/info').json()
    assert not found['streaming'] and '-ub no' in found['reason']
    assert httpx.get(f'{server.url}/healthz').json() == {'status': 'ok'}


@pytest.mark.parametrize(
    ('fields', 'words'),
    [
        ({'response_format': 'xml'}, "'xml' is none of"),
        ({'timestamp_granularities[]': 'word'}, 'verbose_json'),
        ({'response_format': 'verbose_json', 'timestamp_granularities[]': 'phone'}, "'phone' is none of"),
        ({'colour': 'red'}, "'colour'"),
    ],
)
def test_wrong_fields_are_named(server, fields, words):
    assert words in error(server.post(flac(SOUNDS[0]), **fields), 400)


def test_requests_without_a_file_are_refused(server):
    url = f'{server.url}/v1/audio/transcriptions'
    assert 'field file' in error(httpx.post(url, data={'model': 'a'}, files={'model': b''}), 400)
    error(httpx.post(url, data={'file': 'text'}), 415)
    error(httpx.post(url, json={}), 415)
    error(httpx.post(url, content=b'--x', headers={'content-type': 'multipart/form-data'}), 400)
    error(httpx.post(url, content=b'abc', headers={'content-type': 'multipart/form-data; boundary=x'}), 400)
    error(httpx.get(url), 405)
    error(httpx.get(f'{server.url}/nothing'), 404)


def wav(samples, subtype='PCM_16'):
    buffer = io.BytesIO()
    soundfile.write(buffer, samples, 16000, format='WAV', subtype=subtype)
    return buffer.getvalue()


def damaged(number):
    """Bytes that are no whole recording, of several kinds."""
    rng, whole = random.Random(number), flac(SOUNDS[0])
    kinds = [
        b'',
        rng.randbytes(rng.randrange(1, 5000)),
        b'fLaC' + rng.randbytes(500),
        b'RIFF\xff\xff\x00\x00WAVEfmt ' + rng.randbytes(100),
        whole[: rng.randrange(len(whole) // 2)],
        b'no audio but text\n' * 100,
        b'OggS' + rng.randbytes(300),
        wav(SOUNDS[0][:0]),
        wav(np.full(900, np.nan, np.float32), 'FLOAT'),
        wav(SOUNDS[0])[:-1000],
    ]
    return kinds[number % len(kinds)]


def test_damaged_audio_gets_a_sentence(server, texts):
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda i: server.post(damaged(i)), range(NUM_DAMAGED)))
    messages = [error(each, 400) for each in found]
    assert all(each.startswith('speech.flac: ') for each in messages)
    assert server.post(flac(SOUNDS[0])).json()['text'] == texts[0]


def test_uploads_that_are_too_large_or_too_long_have_their_own_status(small):
    assert '0.2 MB' in error(small.post(bytes(250_000)), 413)
    # a length that is not known beforehand

    def body():
        yield b'--x\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n'
        for _ in range(60):
            yield bytes(10_000)

    form = {'content-type': 'multipart/form-data; boundary=x'}
    url = f'{small.url}/v1/audio/transcriptions'
    assert '0.2 MB' in error(httpx.post(url, content=body(), headers=form), 413)
    assert '5 s' in error(small.post(flac(np.zeros(16000 * 6, np.int16))), 422)
    assert small.post(flac(noise(1))).status_code == 200


class Slow:
    """An upload whose second half is sent on request."""

    def __init__(self, url, data):
        host, port = url.removeprefix('http://').split(':')
        boundary = b'--x\r\nContent-Disposition: form-data; name="file"; filename="a.flac"\r\n\r\n'
        body = boundary + data + b'\r\n--x--\r\n'
        head = f'POST /v1/audio/transcriptions HTTP/1.1\r\nHost: {host}:{port}\r\nConnection: close\r\n'
        head += f'Content-Type: multipart/form-data; boundary=x\r\nContent-Length: {len(body)}\r\n\r\n'
        self.connection = socket.create_connection((host, int(port)))
        self.connection.sendall(head.encode() + body[: len(body) // 2])
        self._rest = body[len(body) // 2 :]

    def finish(self):
        """Sends the rest; the status and the body of the response."""
        self.connection.sendall(self._rest)
        return self.response()

    def response(self):
        data = b''
        while more := self.connection.recv(1 << 16):
            data += more
        head, _, body = data.partition(b'\r\n\r\n')
        return int(head.split()[1]), json.loads(body)


def test_more_requests_than_may_wait_are_to_be_tried_again(small):
    slow = Slow(small.url, flac(noise(1)))
    time.sleep(0.3)
    refused = small.post(flac(noise(1)))
    assert 'try again' in error(refused, 503)
    assert int(refused.headers['retry-after']) > 0
    assert slow.finish()[0] == 200
    assert small.post(flac(noise(1))).status_code == 200


def test_an_upload_that_takes_too_long_ends(small):
    status, body = Slow(small.url, flac(noise(1))).response()
    assert (status, body['error']['code']) == (408, 'upload_timeout')


def test_a_client_that_goes_away_harms_nobody(server, texts):
    for _ in range(5):
        Slow(server.url, flac(SOUNDS[2])).connection.close()
        whole = Slow(server.url, flac(SOUNDS[7]))
        whole.connection.sendall(whole._rest)
        whole.connection.close()
        with server.connect() as websocket:
            websocket.send(SOUNDS[1].tobytes())
            websocket.socket.shutdown(socket.SHUT_RDWR)
    assert server.post(flac(SOUNDS[3])).json()['text'] == texts[3]
    assert server.stream(SOUNDS[4])[0][-2]['text'] == texts[4]


def test_a_model_of_both_directions_refuses_streams_with_the_remedy(small):
    messages, code = small.stream(SOUNDS[0])
    assert (len(messages), messages[0]['type'], code) == (1, 'error', 1008)
    assert 'run_train.py -md ds2 -ub no' in messages[0]['message']


@pytest.mark.parametrize(
    ('message', 'code', 'words'),
    [
        (b'abc', 1003, 'whole 16-bit samples'),
        ('hello', 1003, '{"type": "end"}'),
        ('[1]', 1003, '{"type": "end"}'),
        (bytes(1_200_000), 1009, '1200000 bytes'),
    ],
)
def test_odd_messages_end_a_stream_after_its_texts(server, texts, message, code, words):
    with server.connect() as websocket:
        websocket.send(SOUNDS[0].tobytes())
        websocket.send(message)
        messages, found = receive_all(websocket)
    assert found == code
    assert [each['text'] for each in messages if each['type'] == 'final'] == [texts[0]]
    assert messages[-1]['type'] == 'error' and words in messages[-1]['message']


@pytest.mark.parametrize('rate', ['999', '1e4', '', 'x', '-16000', '999999999999'])
def test_odd_sample_rates_are_refused(server, rate):
    with server.connect(rate) as websocket:
        messages, code = receive_all(websocket)
    assert code == 1008 and 'sample_rate' in messages[0]['message']


def test_a_stream_has_its_own_sample_rate(server):
    half = SOUNDS[5][::2]
    words = server.stream(half, 8000)[0][-2]['words']
    assert 3 < words[-1]['end'] <= 4.0


def test_no_audio_is_no_text(server):
    assert server.stream(SOUNDS[0][:0]) == ([{'type': 'done'}], 1000)


def test_limits_of_streams(run_dir, tmp_path):
    flags = ['--max_streams', 2, '--max_audio_seconds', 2, '--timeout', 2]
    server = Server(tmp_path / 'log', run_dir, *flags)
    with server.connect(), server.connect() as idle:
        messages, code = server.stream(SOUNDS[0])
        assert code == 1013 and '2 streams' in messages[0]['message']
        messages, code = receive_all(idle)
        assert (messages, code) == ([{'type': 'error', 'message': 'no message for 2 s; open another stream'}], 1008)
    messages, code = server.stream(SOUNDS[2])
    assert code == 1008 and messages[-2]['type'] == 'final' and 'longer than 2 s' in messages[-1]['message']
    server.kill()


def test_pages_of_other_sites_are_refused(server):
    host = server.url.removeprefix('http://')
    refused = [{'origin': 'http://evil.example'}, {'origin': 'null'}, {'host': 'evil.example:8000'}]
    for headers in refused:
        assert 'refused' in error(httpx.get(f'{server.url}/v1/info', headers=headers), 403) or 'origin' in headers
        with pytest.raises(InvalidStatus) as caught:
            extra = {'Origin': headers['origin']} if 'origin' in headers else {}
            server.connect(additional_headers=extra) if extra else connect_as(server, headers['host'])
        assert caught.value.response.status_code == 403
    own = {'origin': server.url}
    assert httpx.get(f'{server.url}/v1/info', headers=own).status_code == 200
    assert server.stream(SOUNDS[0], origin=server.url)[1] == 1000
    assert httpx.get(f'{server.url}/v1/info', headers={'host': host.replace('127.0.0.1', 'localhost')}).is_success
    assert 'access-control-allow-origin' not in httpx.get(f'{server.url}/v1/info', headers=own).headers


def connect_as(server, host):
    """A websocket that calls the server by another name."""
    from websockets.sync.client import connect

    address = tuple(server.url.removeprefix('http://').split(':'))
    return connect(f'ws://{host}/v1/stream', sock=socket.create_connection(address))


def test_memory_stays_level(server):
    sounds = [flac(each) for each in SOUNDS[:4]]

    def run(number):
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda i: server.post(sounds[i % 4] if i % 3 else damaged(i)), range(number)))
        return server.resident_kib

    before = run(60)
    assert run(120) - before < 30_000


@pytest.mark.parametrize('number', [signal.SIGTERM, signal.SIGINT])
def test_a_signal_lets_requests_finish(run_dir, tmp_path, number, texts):
    server = Server(tmp_path / 'log', run_dir, '--endpoint_ms', 0)
    slow = Slow(server.url, flac(SOUNDS[1]))
    with server.connect() as websocket:
        websocket.send(SOUNDS[0].tobytes())
        time.sleep(0.5)
        server.send(number)
        messages, code = receive_all(websocket)
    assert code == 1001
    assert [each['text'] for each in messages if each['type'] == 'final'] == [texts[0]]
    assert messages[-1] == {'type': 'done'}
    time.sleep(0.3)
    with pytest.raises(httpx.ConnectError):
        post(server.url, b'')
    status, body = slow.finish()
    assert (status, body) == (200, {'text': texts[1]})
    assert server.status() == 0
    assert 'Traceback' not in server.log


def test_a_port_in_use_is_one_line(run_dir, capsys):
    with socket.socket() as other:
        other.bind(('127.0.0.1', 0))
        other.listen()
        port = other.getsockname()[1]
        assert run_main(lambda: serve.main(['-s', run_dir, '--port', str(port)])) == 1
    assert f'error: port {port} of 127.0.0.1: address already in use; ' in capsys.readouterr().err


def test_a_host_that_is_not_here_is_one_line(run_dir):
    with pytest.raises(DataError, match='port 8000 of 192.0.2.1: .*--host'):
        serve.main(['-s', run_dir, '--host', '192.0.2.1'])


def test_missing_packages_are_named_with_their_requirements(run_dir, monkeypatch):
    monkeypatch.setattr(serve.importlib.util, 'find_spec', lambda name: None if name == 'uvicorn' else name)
    with pytest.raises(DataError, match='no module uvicorn.*scripts/requirements-serve.txt'):
        serve.main(['-s', run_dir])


@pytest.mark.parametrize(
    'flags', ['--port 70000', '--max_streams 0', '--timeout 0', '--lm_weight 1', '--endpoint_ms -1', '--max_waiting x']
)
def test_values_that_cannot_work_are_usage_errors(run_dir, flags, capsys):
    def main():
        try:
            return serve.main(['-s', run_dir, *flags.split()])
        except SystemExit as end:
            return end.code

    assert run_main(main) == 2
    assert capsys.readouterr().err.count('\n') == 1
