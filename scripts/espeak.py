"""Reproducible speech synthesis with eSpeak NG, called through ctypes.

The library keeps one state for the whole process (breath noise, the phase of the last voice), so earlier calls
change the samples of later ones even when the seed is set. The same calls in the same order in a fresh process
give the same samples: for reproducible audio, synthesize the texts of each voice in a process of its own.
"""

import ctypes

import espeakng_loader
import numpy as np

_AUDIO_OUTPUT_SYNCHRONOUS = 2
_POSITION_CHARACTER = 1
_CHARACTERS_UTF8 = 1
_PARAMETER_RATE, _PARAMETER_PITCH, _PARAMETER_RANGE = 1, 3, 4

_SynthCallback = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p)


class Espeak:
    """The initialised library with its voices."""

    def __init__(self) -> None:
        self._library = ctypes.CDLL(espeakng_loader.get_library_path())
        data_path = espeakng_loader.get_data_path().encode()
        self.sample_rate = self._library.espeak_Initialize(_AUDIO_OUTPUT_SYNCHRONOUS, 0, data_path, 0)
        if self.sample_rate <= 0:
            raise RuntimeError(f'eSpeak NG does not start with the voices in {data_path.decode()}')
        self._chunks: list[np.ndarray] = []
        self._callback = _SynthCallback(self._collect)  # ctypes keeps no reference of its own
        self._library.espeak_SetSynthCallback(self._callback)

    def _collect(self, samples, num_samples: int, _events) -> int:
        if samples and num_samples > 0:
            self._chunks.append(np.ctypeslib.as_array(samples, (num_samples,)).copy())
        return 0

    def speak(
        self, text: str, voice: str, words_per_minute: int, pitch: int, pitch_range: int, seed: int
    ) -> np.ndarray:
        """Synthesizes a text.

        Args:
          text: text to synthesize.
          voice: an accent and a variant, such as ``en-us+f3``.
          words_per_minute: speed; 175 is eSpeak's default.
          pitch: 0 to 99; 50 leaves the voice as it is.
          pitch_range: 0 (monotone) to 99; 50 leaves the voice as it is.
          seed: random seed of the breath noise.

        Returns:
          float32 samples in [-1, 1] at `sample_rate`.

        Raises:
          RuntimeError: eSpeak NG refuses the text or a setting.
        """
        library = self._library
        self._check(library.espeak_ng_SetRandSeed(ctypes.c_long(seed)), f'seed {seed}')
        self._check(library.espeak_SetVoiceByName(voice.encode()), f'voice {voice}')
        parameters = {_PARAMETER_RATE: words_per_minute, _PARAMETER_PITCH: pitch, _PARAMETER_RANGE: pitch_range}
        for parameter, value in parameters.items():
            self._check(library.espeak_SetParameter(parameter, value, 0), f'value {value} of parameter {parameter}')
        self._chunks.clear()
        encoded = text.encode()
        status = library.espeak_Synth(
            encoded, ctypes.c_size_t(len(encoded) + 1), 0, _POSITION_CHARACTER, 0, _CHARACTERS_UTF8, None, None
        )
        self._check(status, f'text "{text}"')
        return np.concatenate(self._chunks).astype(np.float32) / 32768.0

    @staticmethod
    def _check(status: int, what: str) -> None:
        if status != 0:
            raise RuntimeError(f'eSpeak NG refused {what} (status {status})')
