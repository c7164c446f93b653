"""The page of the server in a browser: files, the microphone, words, errors, hostile texts."""

import base64
import hashlib
import json
import re
import socket
import threading
from pathlib import Path

import numpy as np
import pytest
import soundfile

import run_predict
from tests.browsers import chromium, wait_for
from tests.live_runs import write_live_run
from tests.servers import Server, noise
from tests.servers import flac as flac_of
from utils.recognition.recognizer import StreamingModel
from utils.recognition.streaming import StreamingRecognizer

PAGE = Path(__file__).parents[1] / 'utils' / 'serving' / 'page.html'
INFO = {'model': 'm', 'streaming': True, 'sample_rate': 16000}
INFO |= {'limits': {'upload_bytes': 200_000, 'audio_seconds': 600, 'streams': 2}}
HOSTILE = ['<script>document.title="run"</script>', '<b>bold</b>', '<img src=x onerror=alert(1)>', '&lt;', "\u202e'"]


def words_of(text, confidence=0.95):
    """A word every half second, 0.3 s long."""
    return [
        {'word': word, 'start': i / 2, 'end': i / 2 + 0.3, 'confidence': confidence}
        for i, word in enumerate(text.split())
    ]


def test_policy_admits_this_script_and_this_style_alone():
    page = PAGE.read_text(encoding='utf-8')
    for tag in ('script', 'style'):
        (body,) = re.findall(f'<{tag}>(.*?)</{tag}>', page, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(body.encode()).digest()).decode()
        assert f"{tag}-src 'sha256-{digest}'" in page, f'the digest of <{tag}> in the policy must be sha256-{digest}'
    (policy,) = re.findall('Content-Security-Policy" content="(.*?)"', page)
    assert policy.startswith("default-src 'none';") and 'unsafe' not in policy and 'http' not in policy


def test_page_makes_no_elements_from_texts():
    page = PAGE.read_text(encoding='utf-8')
    for name in ('innerHTML', 'outerHTML', 'insertAdjacentHTML', 'document.write', 'eval(', 'DOMParser', 'onclick="'):
        assert name not in page


class Canned:
    """A server of the page with given answers.

    Attributes:
      info: answer of /v1/info.
      status, answer: of every upload.
      messages: sent when a stream opens; after 'end' come those of ``last``.
      last: messages of the end; None: the first samples are the end.
      close: code and reason of closing.
      uploads, samples, rate: what came.
    """

    def __init__(self):
        self.reset()
        self.address = ''

    def reset(self):
        self.info, self.status, self.answer = INFO, 200, {}
        self.messages, self.last, self.close = [], [{'type': 'done'}], (1000, '')
        self.uploads, self.samples, self.rate = [], b'', 0

    def app(self):
        from starlette.applications import Starlette
        from starlette.responses import FileResponse, JSONResponse
        from starlette.routing import Route, WebSocketRoute

        async def upload(request):
            async with request.form() as form:
                fields = {name: value for name, value in form.multi_items() if isinstance(value, str)}
                self.uploads.append((form['file'].filename, await form['file'].read(), fields))
            return JSONResponse(self.answer, self.status)

        async def stream(websocket):
            await websocket.accept()
            self.rate = int(websocket.query_params['sample_rate'])
            for message in self.messages:
                await websocket.send_json(message)
            while True:
                message = await websocket.receive()
                if message['type'] == 'websocket.disconnect':
                    return
                self.samples += message.get('bytes') or b''
                if self.last is None:
                    break
                if message.get('text'):
                    assert json.loads(message['text']) == {'type': 'end'}
                    break
            for message in self.last or []:
                await websocket.send_json(message)
            await websocket.close(*self.close)

        async def page(request):
            return FileResponse(PAGE)

        async def info(request):
            return JSONResponse(self.info)

        routes = [Route('/', page), Route('/v1/info', info), WebSocketRoute('/v1/stream', stream)]
        return Starlette(routes=[*routes, Route('/v1/audio/transcriptions', upload, methods=['POST'])])


@pytest.fixture(scope='module')
def server():
    for package in ('starlette', 'multipart', 'websockets'):
        pytest.importorskip(package, reason=f'{package} is not installed')
    uvicorn = pytest.importorskip('uvicorn', reason='uvicorn is not installed')
    canned = Canned()
    with socket.socket() as listener:
        listener.bind(('127.0.0.1', 0))
        listener.listen()  # connections wait until the server runs
        canned.address = f'http://127.0.0.1:{listener.getsockname()[1]}/'
        running = uvicorn.Server(uvicorn.Config(canned.app(), log_level='error'))
        thread = threading.Thread(target=running.run, args=([listener],), daemon=True)
        thread.start()
        yield canned
        running.should_exit = True
        thread.join(10)


@pytest.fixture(scope='module')
def microphone(tmp_path_factory):
    """A recording for Chromium's microphone: two seconds of tones."""
    path = tmp_path_factory.mktemp('microphone') / 'tones.wav'
    pitches = np.repeat([440, 2000, 700, 3000, 1200], 6400)
    soundfile.write(path, 0.5 * np.sin(2 * np.pi * np.cumsum(pitches) / 16000), 16000, 'PCM_16')
    return path


@pytest.fixture(scope='module')
def browser(microphone, tmp_path_factory):
    flags = ['--use-fake-ui-for-media-stream', '--use-fake-device-for-media-stream', '--window-size=900,1000']
    with chromium(*flags, f'--use-file-for-fake-audio-capture={microphone}%noloop') as driver:
        yield driver


@pytest.fixture
def page(browser, server):
    """Opens the page of the server as it is set, in a window of this width."""
    server.reset()

    def open_page(width=900):
        metrics = {'width': width, 'height': 900, 'deviceScaleFactor': 1, 'mobile': width < 500}
        browser.execute_cdp_cmd('Emulation.setDeviceMetricsOverride', metrics)
        browser.get_log('browser')
        browser.get_log('performance')
        browser.get(server.address)
        wait_for(browser, 'info !== null')
        return browser

    return open_page


@pytest.fixture
def flac(tmp_path):
    path = tmp_path / 'a <b> #1.flac'
    soundfile.write(path, np.zeros(48000), 16000)
    return path


def give(driver, path):
    """Chooses a file, and waits until it is done; the text of the page's transcript."""
    driver.find_element('id', 'file').send_keys(str(path))
    wait_for(driver, 'request === null && !$("file").disabled && ($("status").textContent || !$("error").hidden)')
    return text_of(driver, 'finals')


def text_of(driver, name):
    return driver.execute_script(f'return $("{name}").textContent')


def speak(driver, secs):
    driver.find_element('id', 'speak').click()
    wait_for(driver, f'live && live.chunks.length >= {round(10 * secs)} || !live')


def test_upload_shows_words_with_confidence(page, server, flac):
    confidences = [0.99, 0.9, 0.89, 0.7, 0.5, 0.49, 0]
    words = [{**word, 'confidence': c} for word, c in zip(words_of('a b c d e f g'), confidences, strict=True)]
    server.answer = {'text': 'a b c d e f g', 'duration': 3, 'words': words}
    driver = page()
    assert give(driver, flac) == 'a b c d e f g'
    ((name, body, fields),) = server.uploads
    assert (name, body, fields['response_format']) == (flac.name, flac.read_bytes(), 'verbose_json')
    assert fields['timestamp_granularities[]'] == 'word'
    buttons = driver.find_elements('css selector', '#finals button')
    assert [button.get_attribute('class')[-2:] for button in buttons] == ['c3', 'c3', 'c2', 'c2', 'c1', 'c0', 'c0']
    assert buttons[1].get_attribute('title') == '0.50 to 0.80 s, confidence 90 %'
    assert text_of(driver, 'status') == f'{flac.name}, 3.0 s: done.'


def test_texts_are_shown_as_texts(page, server, flac):
    text = ' '.join(HOSTILE)
    words = [{'word': word, 'start': 0, 'end': 1, 'confidence': 1} for word in HOSTILE]
    server.info = {**INFO, 'model': HOSTILE[0]}
    server.answer = {'text': text, 'duration': 3, 'words': words}
    server.messages = [{'type': 'partial', 'text': text, 'words': words}]
    server.last = [{'type': 'error', 'message': text}]
    driver = page()
    elements = driver.execute_script('return document.querySelectorAll("b, img, script").length')
    assert give(driver, flac) == text and HOSTILE[0] in text_of(driver, 'model')
    speak(driver, 0.2)
    assert wait_for(driver, '$("partial").textContent') == text
    driver.find_element('id', 'speak').click()
    wait_for(driver, '!live')
    assert text_of(driver, 'error') == text
    assert driver.title == 'Speech to text'
    assert driver.execute_script('return document.querySelectorAll("b, img, script").length') == elements


def test_characters_of_texts_without_spaces_stand_together(page, server, flac):
    server.answer = {'text': '绿是阳春', 'duration': 3, 'words': words_of('绿 是 阳 春')}
    assert give(page(), flac) == '绿是阳春'


def test_sentence_of_the_server_is_shown(page, server, flac):
    server.status, server.answer = 400, {'error': {'message': 'a.flac: not audio; convert it to FLAC'}}
    driver = page()
    assert give(driver, flac) == ''
    assert driver.find_element('id', 'error').is_displayed()
    assert text_of(driver, 'error') == 'a.flac: not audio; convert it to FLAC'
    server.status, server.answer = 500, 'no object'
    give(driver, flac)
    assert text_of(driver, 'error') == 'The server refused the recording (HTTP status 500).'
    server.status, server.answer = 200, {'text': '', 'words': [], 'duration': 3}
    give(driver, flac)
    assert not driver.find_element('id', 'error').is_displayed()
    assert 'no speech was recognised' in text_of(driver, 'status')


def test_file_larger_than_the_limit_is_not_sent(page, server, tmp_path):
    (tmp_path / 'large.wav').write_bytes(bytes(200_001))
    driver = page()
    give(driver, tmp_path / 'large.wav')
    assert text_of(driver, 'error') == 'large.wav has 0.3 MB; the server takes at most 0.2 MB.'
    assert server.uploads == []


def test_model_that_cannot_run_live_disables_the_microphone(page, server):
    server.info = {**INFO, 'streaming': False, 'reason': 'm looks both ways; train it with -ub no'}
    driver = page()
    button = driver.find_element('id', 'speak')
    assert not button.is_enabled() and button.get_attribute('aria-describedby') == 'hint'
    assert text_of(driver, 'hint') == 'm looks both ways; train it with -ub no'
    assert driver.find_element('id', 'file').is_enabled()


def test_word_is_played_from_its_start_to_its_end(page, server, flac):
    server.answer = {'text': 'a b c d', 'duration': 3, 'words': words_of('a b c d')}
    driver = page()
    give(driver, flac)
    driver.execute_script('''
        window.marked = [];
        new MutationObserver(changes => marked.push(...changes.map(each => each.target)
            .filter(each => each.matches('.now')).map(each => each.textContent)))
            .observe($('finals'), {subtree: true, attributeFilter: ['class']})''')
    driver.find_elements('css selector', '#finals button')[2].click()
    wait_for(driver, '$("player").currentTime >= 1.4 && $("player").paused')
    assert driver.execute_script('return $("player").currentTime') < 2  # it stops within a frame of the screen
    assert driver.execute_script('return marked') == ['c']
    assert driver.find_elements('css selector', '#finals .now') == []
    driver.execute_script('marked = []; $("player").currentTime = 0; return $("player").play()')
    wait_for(driver, '$("player").currentTime >= 2.5')
    assert driver.execute_script('return marked') == ['a', 'b', 'c', 'd']


def test_words_are_reached_by_the_keyboard(page, server, flac):
    server.answer = {'text': 'a b c', 'duration': 3, 'words': words_of('a b c')}
    driver = page()
    give(driver, flac)
    keys = pytest.importorskip('selenium.webdriver').Keys
    places = []
    for key in (keys.ARROW_RIGHT, keys.ARROW_LEFT, keys.ARROW_LEFT, keys.END, keys.ARROW_RIGHT, keys.HOME, keys.END):
        where = '#finals button[tabindex="0"]'  # the one that the tabulator reaches
        driver.find_element('css selector', where).send_keys(key)
        assert driver.switch_to.active_element == driver.find_element('css selector', where)
        places.append(driver.switch_to.active_element.text)
    assert ''.join(places) == 'baaccac'
    assert len(driver.find_elements('css selector', '#finals [tabindex="0"]')) == 1
    driver.switch_to.active_element.send_keys(keys.ENTER)
    wait_for(driver, '$("player").currentTime >= 1.4 && $("player").paused')


def test_microphone_is_used_by_the_keyboard(page, server):
    driver = page()
    keys = pytest.importorskip('selenium.webdriver').Keys
    driver.find_element('id', 'speak').send_keys(keys.ENTER)
    wait_for(driver, 'live && live.chunks.length > 2')
    assert driver.switch_to.active_element.text == 'Stop'
    driver.switch_to.active_element.send_keys(keys.ENTER)
    wait_for(driver, '!live')
    assert text_of(driver, 'status') == 'No speech was recognised.'


def test_recording_is_sent_and_kept(page, server):
    final = {'type': 'final', 'text': 'a b', 'words': words_of('a b'), 'start': 0, 'end': 0.8}
    server.messages = [{'type': 'partial', 'text': 'a', 'words': words_of('a')}]
    server.last = [final, {'type': 'done'}]
    driver = page()
    speak(driver, 1)
    assert wait_for(driver, '$("partial").textContent') == 'a'
    assert driver.find_element('id', 'speak').text == 'Stop' and not driver.find_element('id', 'file').is_enabled()
    driver.find_element('id', 'speak').click()
    wait_for(driver, '!live')
    assert (text_of(driver, 'finals'), text_of(driver, 'partial'), text_of(driver, 'status')) == ('a b', '', 'Done.')
    samples = np.frombuffer(server.samples, '<i2')
    assert len(samples) >= server.rate and server.rate >= 8000
    assert 12_000 < np.abs(samples.astype(int)).max() < 20_000  # tones of half the full scale
    duration = wait_for(driver, '$("player").duration')
    assert duration == pytest.approx(len(samples) / server.rate, abs=0.01)


def test_stream_that_breaks_keeps_what_was_recognised(page, server):
    server.messages = [{'type': 'final', 'text': 'a', 'words': words_of('a'), 'start': 0, 'end': 0.3}]
    server.messages += [{'type': 'partial', 'text': 'b c', 'words': words_of('b c')}]
    server.last, server.close = None, (1013, 'All 2 streams are taken; try again later.')
    driver = page()
    speak(driver, 100)
    assert text_of(driver, 'error') == 'All 2 streams are taken; try again later.'
    assert [each.text for each in driver.find_elements('css selector', '#finals p')] == ['a', 'b c']
    assert driver.find_element('id', 'srt').is_enabled() and driver.find_element('id', 'player').is_displayed()
    assert driver.find_element('id', 'speak').text == 'Speak'


def test_subtitles_are_cut_at_pauses_and_limits(page, server, flac):
    words = words_of('one two three ' + 'twelve-chars ' * 15)
    for i, word in enumerate(words[2:]):
        word.update(start=3661.5 + i / 10, end=3661.6 + i / 10)
    server.answer = {'text': ' '.join(each['word'] for each in words), 'duration': 3663, 'words': words}
    driver = page()
    give(driver, flac)
    first, second, third, fourth = driver.execute_script('return srt()').split('\n\n')
    assert first == '1\n00:00:00,000 --> 00:00:01,000\none two'  # for a second at least
    assert second.startswith('2\n01:01:01,500 --> 01:01:02,100\nthree twelve-chars')
    lines = [line for cue in (second, third, fourth) for line in cue.splitlines()[2:]]
    assert ' '.join(lines) == server.answer['text'].partition('two ')[2].strip() and max(map(len, lines)) <= 42
    assert [len(cue.splitlines()) for cue in (second, third, fourth)] == [4, 4, 4]


def test_page_fits_a_phone_and_uses_no_other_host(page, server, flac):
    server.answer = {'text': 'x' * 300 + ' b', 'duration': 3, 'words': words_of('x' * 300 + ' b')}
    driver = page(width=360)
    give(driver, flac)
    assert driver.execute_script('return document.documentElement.scrollWidth') <= 360
    events = [json.loads(entry['message'])['message'] for entry in driver.get_log('performance')]
    urls = {each['params']['request']['url'] for each in events if each['method'] == 'Network.requestWillBeSent'}
    assert server.address in urls
    assert all(url.startswith((server.address, f'blob:{server.address}', 'data:')) for url in urls)
    assert driver.get_log('browser') == []


@pytest.fixture(scope='module')
def real_server(tmp_path_factory):
    """A server of a run with random weights, and the run."""
    folder = tmp_path_factory.mktemp('real')
    run = write_live_run(folder / 'run')
    server = Server(folder / 'log', run.path)
    yield server, run
    server.kill()


def test_text_of_an_upload_is_that_of_run_predict(browser, real_server, microphone, tmp_path, capsys):
    server, run = real_server
    path = tmp_path / 'noise.flac'
    path.write_bytes(flac_of(noise(4)))
    browser.get(server.url)
    wait_for(browser, 'info !== null')
    text = give(browser, path)
    assert run_predict.main(['-s', run.path, str(path)]) == 0
    assert len(text) > 10 and capsys.readouterr().out == f'{text}\n'


def test_damaged_upload_shows_a_sentence(browser, real_server, tmp_path):
    path = tmp_path / 'damaged.flac'
    path.write_bytes(flac_of(noise(4))[:3000])
    browser.get(real_server[0].url)
    wait_for(browser, 'info !== null')
    assert give(browser, path) == ''
    assert text_of(browser, 'error').startswith('damaged.flac: ')


def test_text_of_the_microphone_is_that_of_its_samples(browser, real_server):
    server, run = real_server
    browser.get(server.url)
    wait_for(browser, 'info !== null')
    browser.execute_script('wav = (inner => (...all) => { window.sent = all; return inner(...all); })(wav)')
    speak(browser, 2.5)
    browser.find_element('id', 'speak').click()
    wait_for(browser, '!live')
    chunks, rate = browser.execute_script('return [sent[0].map(chunk => [...chunk]), sent[1]]')
    recognizer = StreamingRecognizer(StreamingModel(run, 'best'))
    stream = recognizer.open(rate)
    (utterances,) = recognizer.step([(stream, np.concatenate(chunks).astype(np.int16))])
    texts = [each.text for each in utterances + recognizer.finish([stream])[0] if each.is_final]
    assert texts and text_of(browser, 'error') == ''
    assert [each.text for each in browser.find_elements('css selector', '#finals p')] == texts
