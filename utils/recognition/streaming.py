"""Live recognition: recordings that come in chunks of any length, several of them in one call of the model.

    recognizer = StreamingRecognizer(StreamingModel(run), decoder)
    stream = recognizer.open()                                # for each recording
    (utterances,) = recognizer.step([(stream, samples)])      # with every chunk
    (utterances,) = recognizer.finish([stream])               # at the end

The posteriors are those of the whole recording, whatever the chunks. An utterance ends after a silence, at the same
frame whatever the chunks; the decoder starts anew there, the acoustic model goes on.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from models.config import ModelConfig
from utils.audio.resample import SAMPLE_RATE, Resampler
from utils.data.feature_stream import FeatureStream
from utils.decode import hypothesis as decoded
from utils.decode.greedy import GreedyStream
from utils.decode.hypothesis import Hypothesis, Word
from utils.errors import DataError, UsageError
from utils.recognition.live_options import LiveOptions

if TYPE_CHECKING:
    from utils.decode.decoder import BeamDecoder
    from utils.recognition.recognizer import StreamingModel

LONG_SECS, LONG_ENDPOINT_MS = 20, 200  # an utterance longer than this ends at the next gap between words
LONGEST_SECS = 60  # and here at the latest: memory is limited
MIN_FRAMES = 4  # output frames; a call for one costs nearly as much as for several
MAX_FRAMES = 64  # of a call, which limits its memory
ENDLESS = 2**30  # more output frames than a recording has


def require_one_direction(config: ModelConfig, run_dir: str) -> None:
    """Raises a `UsageError` for a model that cannot run live: all but ds2 of one direction."""
    if config.model != 'ds2' or config.bidirectional:
        what = f'{config.model} in both directions' if config.bidirectional else config.model
        raise UsageError(
            f'{run_dir} holds {what}, which needs the whole recording; train a model that can run live with '
            'run_train.py -md ds2 -ub no, as scripts/run_an4_ds2_stream_train.sh does'
        )


@dataclass(frozen=True)
class Utterance:
    """The text between two silences, so far or as a whole.

    Attributes:
      is_final: whether the utterance has ended and this is its last text.
      text: recognised words, joined.
      start, end: seconds from the beginning of the recording.
      confidence: geometric mean of the posteriors of the frames that show a symbol, in [0, 1].
      words: recognised words, with times in seconds from the beginning of the recording.
    """

    is_final: bool
    text: str
    start: float
    end: float
    confidence: float
    words: tuple[Word, ...]

    def to_json(self) -> dict[str, Any]:
        """A dictionary for ``json.dumps``, with times to the millisecond."""
        times = {'start': round(self.start, 3), 'end': round(self.end, 3)}
        words = [word.to_json() for word in self.words]
        return {'text': self.text, **times, 'confidence': round(self.confidence, 4), 'words': words}


def as_float(samples: np.ndarray) -> np.ndarray:
    """One channel of float or int16 samples as float32, full scale [-1, 1]; a `DataError` if one is not finite."""
    if samples.ndim != 1 or samples.dtype.kind not in 'fi' or (samples.dtype.kind == 'i' and samples.itemsize != 2):
        raise ValueError(f'samples {samples.dtype} {samples.shape} must be one channel of float or int16')
    if samples.dtype.kind == 'i':
        return samples.astype(np.float32) / np.float32(32768)
    if not np.isfinite(samples).all():
        raise DataError('the recording has samples that are not finite numbers; record or convert it again')
    return samples.astype(np.float32)


class Stream:
    """State of one recording; `StreamingRecognizer.open` makes it, and `StreamingRecognizer.step` changes it.

    Attributes:
      num_samples: samples so far, at 16 kHz.
      num_bytes: memory of the state, but for samples that wait for a whole frame and Python's objects.
    """

    def __init__(self, model: 'StreamingModel', decoder: Any, sample_rate: int):
        self._resampler = Resampler(sample_rate)
        self._statistics = model.statistics
        self._extractor = FeatureStream(model.spec)
        self.state = np.zeros(model.state_size, np.float32)
        self.pending = np.zeros((0, model.config.features), np.float32)  # normalised features
        self.num_fed, self.num_frames = 0, ENDLESS  # output frames fed to the model, and in the whole recording
        self.decoder, self.first_frame, self.num_silent = decoder, 0, 0  # of the utterance
        self.num_decoded = 0  # output frames
        self.shown = ''  # last partial text

    @property
    def num_samples(self) -> int:
        return self._extractor.num_samples

    @property
    def num_bytes(self) -> int:
        return self.state.nbytes + self.pending.nbytes + self.decoder.num_bytes

    def add(self, samples: np.ndarray) -> None:
        """Appends float32 samples in [-1, 1]."""
        if self.num_frames != ENDLESS:
            raise ValueError('the recording has ended; open another stream')
        self._append(self._extractor.add(self._resampler.add(samples)))

    def end(self, stride: int, delay: int) -> None:
        """Ends the recording: appends the last frames, and zeros until all outputs are out."""
        if self.num_frames != ENDLESS:
            raise ValueError('the recording has ended already')
        self._append(self._extractor.add(self._resampler.end()))
        self._append(self._extractor.end())
        self.num_frames = self.num_fed + -(-len(self.pending) // stride)
        zeros = (self.num_frames + delay - self.num_fed) * stride - len(self.pending)
        self.pending = np.pad(self.pending, [(0, zeros), (0, 0)])

    def _append(self, features: np.ndarray) -> None:
        if len(features):
            self.pending = np.concatenate([self.pending, self._statistics.normalise(features)])


class StreamingRecognizer:
    """Recognises recordings as they come; one for all streams of a process, which share its calls.

    Args:
      model: trained model of one direction, and its session.
      decoder: prefix beam search from `decode.decoder.load_decoder`; None: greedy decoding.
      endpoint_ms: silence that ends an utterance, milliseconds; 0: only the end of the recording does.
    """

    def __init__(
        self, model: 'StreamingModel', decoder: 'BeamDecoder | None' = None, endpoint_ms: int = LiveOptions.endpoint_ms
    ):
        self.model, self._decoder = model, decoder
        self._blank_id = model.config.classes - 1
        vocabulary = model.vocabulary
        self._space_id = vocabulary.tokens.index(' ') if vocabulary.has_space else None
        self._separator = ' ' if vocabulary.has_space else vocabulary.separator
        ms = 1000 * model.secs_per_frame
        self._endpoint, self._long_endpoint, self._long, self._longest = (
            max(1, round(each / ms)) for each in (endpoint_ms, LONG_ENDPOINT_MS, 1000 * LONG_SECS, 1000 * LONGEST_SECS)
        )
        if not endpoint_ms:
            self._endpoint = self._long = self._longest = ENDLESS

    def open(self, sample_rate: int = SAMPLE_RATE) -> Stream:
        """A new recording of this many samples a second."""
        return Stream(self.model, self._new_decoder(), sample_rate)

    def step(self, chunks: Sequence[tuple[Stream, np.ndarray]]) -> list[list[Utterance]]:
        """Appends samples to recordings, each at most once.

        Args:
          chunks: recordings, and samples `[samples]` of each, float in [-1, 1] or int16.

        Returns:
          For each recording the utterances that have ended, and the text so far of the one that goes on, if it is new.

        Raises:
          ValueError: samples of another kind, or a recording that has ended.
          DataError: samples that are not finite; no recording has taken any.
        """
        checked = [(stream, as_float(samples)) for stream, samples in chunks]  # all of them before any is taken
        for stream, samples in checked:
            stream.add(samples)
        return self._advance([stream for stream, _ in chunks], MIN_FRAMES)

    def finish(self, streams: Sequence[Stream]) -> list[list[Utterance]]:
        """Ends recordings; returns the last utterances of each."""
        for stream in streams:
            stream.end(self.model.time_stride, self.model.delay)
        found = self._advance(streams, 1)
        for stream, utterances in zip(streams, found, strict=True):
            utterances[:] = [each for each in utterances if each.is_final] + list(self._end(stream))
        return found

    def _advance(self, streams: Sequence[Stream], least: int) -> list[list[Utterance]]:
        """Runs the model as long as a stream has this many output frames, all such streams in one call."""
        found: list[list[Utterance]] = [[] for _ in streams]
        stride = self.model.time_stride
        while ready := [i for i, each in enumerate(streams) if len(each.pending) >= least * stride]:
            batch = [streams[i] for i in ready]
            frames = min(MAX_FRAMES, *(len(each.pending) // stride for each in batch))
            log_probs, states = self.model.step(
                np.stack([each.pending[: frames * stride] for each in batch]),
                np.array([each.num_fed for each in batch], np.int32),
                np.array([each.num_frames for each in batch], np.int32),
                np.stack([each.state for each in batch]),
            )
            for i, stream, rows, state in zip(ready, batch, log_probs, states, strict=True):
                first = stream.num_fed - self.model.delay
                rows = rows[max(0, -first) : max(0, stream.num_frames - first)]
                stream.state, stream.pending = state.copy(), stream.pending[frames * stride :].copy()
                stream.num_fed += frames
                found[i] += self._decode(stream, rows)
        for stream, utterances in zip(streams, found, strict=True):
            partial = self._utterance(stream, stream.decoder.partial(), is_final=False)
            if partial.text != stream.shown:
                stream.shown = partial.text
                utterances.append(partial)
        return found

    def _decode(self, stream: Stream, log_probs: np.ndarray) -> Iterator[Utterance]:
        """Adds posteriors to the utterance, and to those after it where it ends within them."""
        first = 0
        for frame, symbol in enumerate(log_probs.argmax(1).tolist(), 1):
            stream.num_silent = stream.num_silent + 1 if symbol in (self._blank_id, self._space_id) else 0
            length = stream.num_decoded + frame - first - stream.first_frame
            limit = self._endpoint if length < self._long else min(self._endpoint, self._long_endpoint)
            if stream.num_silent >= limit or length >= self._longest:
                stream.decoder.add(log_probs[first:frame])
                stream.num_decoded += frame - first
                first = frame
                yield from self._end(stream)
        stream.decoder.add(log_probs[first:])
        stream.num_decoded += len(log_probs) - first

    def _end(self, stream: Stream) -> Iterator[Utterance]:
        """Ends the utterance; none is returned where nothing was recognised."""
        utterance = self._utterance(stream, stream.decoder.final(), is_final=True)
        stream.decoder, stream.first_frame, stream.num_silent = self._new_decoder(), stream.num_decoded, 0
        stream.shown = ''
        if utterance.text:
            yield utterance

    def _utterance(self, stream: Stream, hypothesis: Hypothesis, is_final: bool) -> Utterance:
        secs, last = self.model.secs_per_frame, stream.num_samples / SAMPLE_RATE
        offset = stream.first_frame * secs
        words = decoded.words(hypothesis, self.model.vocabulary.tokens, self._space_id, secs, offset)
        # the last output frame may reach beyond the last sample
        words = [Word(each.word, min(each.start, last), min(each.end, last), each.confidence) for each in words]
        times = (words[0].start, words[-1].end) if words else (offset, offset)
        text = self._separator.join(word.word for word in words)
        return Utterance(is_final, text, *times, decoded.confidence(hypothesis.frames), tuple(words))

    def _new_decoder(self) -> Any:
        if not self._decoder:
            return GreedyStream(self._blank_id)
        from utils.decode.beam_stream import BeamStream

        return BeamStream(self._blank_id, self._decoder.options, self._decoder.scorer)
