"""The queue of uploads, with a recogniser that only pretends."""

import threading
import time

import pytest
import soundfile

from tests.oracles import EchoRecognizer
from tests.servers import noise
from utils.data.vocabulary import Vocabulary
from utils.errors import DataError
from utils.serving.limits import RequestError
from utils.serving.uploads import MOST_PIECES, UploadQueue


@pytest.fixture
def write(tmp_path):
    def write(name, secs):
        soundfile.write(tmp_path / name, noise(secs), 16000)
        return str(tmp_path / name)

    return write


@pytest.fixture
def make():
    """Makes a queue with pieces of two seconds."""
    queues = []

    def make(recognizer, most_secs=60.0):
        queues.append(UploadQueue(recognizer, 2.0, most_secs, threading.Event().set))
        return queues[-1]

    yield make
    for queue in queues:
        queue.close()


def wait_for_pieces(queue, number):
    """Waits until so many pieces have been read."""
    end = time.monotonic() + 30
    while sum(len(each.waiting) for each in queue._ready) < number:
        assert time.monotonic() < end
        time.sleep(0.01)


def test_recordings_that_come_together_share_a_batch(make, write):
    recognizer = EchoRecognizer(Vocabulary.english(), 'hi yo')
    queue = make(recognizer)
    found = [queue.add(write(f'{i}.wav', 0.5)) for i in range(3)]
    wait_for_pieces(queue, 3)
    assert queue.recognize(8)
    assert [each.result(30).text for each in found] == ['hi yo'] * 3
    assert len(recognizer.rounds) == 1
    assert not queue.recognize(8)


def test_a_short_recording_does_not_wait_for_the_end_of_a_long_one(make, write):
    queue = make(EchoRecognizer(Vocabulary.english(), 'hi'))
    long = queue.add(write('long.wav', 30))
    wait_for_pieces(queue, MOST_PIECES)
    short = queue.add(write('short.wav', 0.5))
    wait_for_pieces(queue, MOST_PIECES + 1)
    queue.recognize(2)
    assert short.result(30).text == 'hi'
    assert not long.done()
    while not long.done():
        queue.recognize(2)
    assert long.result().duration == 30
    assert long.result().text == ' '.join(['hi'] * len(long.result().words))
    starts = [word.start for word in long.result().words]
    assert starts == sorted(starts) and starts[-1] > 26


def test_a_cancelled_recording_is_not_recognised_any_more(make, write):
    recognizer = EchoRecognizer(Vocabulary.english(), 'hi')
    queue = make(recognizer)
    gone = queue.add(write('gone.wav', 30))
    wait_for_pieces(queue, MOST_PIECES)
    other = queue.add(write('a.wav', 0.5))
    wait_for_pieces(queue, MOST_PIECES + 1)
    gone.cancel()
    while queue.recognize(8):
        pass
    assert other.result(30).text == 'hi'
    assert [len(each) for each in recognizer.rounds] == [1]


class Fragile(EchoRecognizer):
    """Fails for a batch with an utterance of this many frames."""

    def recognize(self, features, batch_size):
        if 99 in map(len, features):
            raise MemoryError('too much')
        return super().recognize(features, batch_size)


def test_a_recording_that_cannot_be_recognised_harms_no_other_of_its_batch(make, write):
    queue = make(Fragile(Vocabulary.english(), 'hi'))
    found = [queue.add(write(f'{secs}.wav', secs)) for secs in (0.5, 1, 1.5)]
    wait_for_pieces(queue, 3)
    queue.recognize(8)
    assert [found[0].result(30).text, found[2].result(30).text] == ['hi', 'hi']
    with pytest.raises(MemoryError):
        found[1].result(30)


def test_damaged_and_too_long_recordings_have_their_error(make, write, tmp_path):
    queue = make(EchoRecognizer(Vocabulary.english(), 'hi'), most_secs=3)
    (tmp_path / 'bad.wav').write_bytes(b'RIFF')
    with pytest.raises(DataError, match='bad.wav'):
        queue.add(str(tmp_path / 'bad.wav')).result(30)
    with pytest.raises(RequestError, match='longer than 3 s') as caught:
        queue.add(write('long.wav', 3.5)).result(30)
    assert caught.value.status == 422
