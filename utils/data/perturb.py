"""Augmented copies of recordings: another speed, noise at a signal-to-noise ratio, a gain."""

import argparse
import dataclasses
import hashlib
import json
import os
from fractions import Fraction

import numpy as np
import scipy.signal

from utils.audio.checks import AUDIO_SUFFIXES
from utils.audio.reader import SAMPLE_RATE, measure, read_audio
from utils.data.corpora import Problem, Recording
from utils.errors import CONTROL, DataError, UsageError, describe_os_error

DEFAULT_SNR_DB = 5.0, 20.0
DEFAULT_SEED = 1
_HELD_OUT = ('dev', 'test')


@dataclasses.dataclass(frozen=True)
class Noise:
    """A noise recording: its path, its name below the directory of noises, and its number of samples at 16 kHz."""

    path: str
    name: str
    num_samples: int


@dataclasses.dataclass(frozen=True)
class Perturbation:
    """The changes of one copy, applied in this order; the defaults change nothing.

    Attributes:
      speed: factor on tempo and pitch (Ko et al. 2015, "Audio augmentation for speech recognition").
      noise: noise to add; None: none.
      offset: start of the cut, as a share of the starts that the noise allows, from 0 to 1.
      snr_db: power of the utterance over that of the cut, dB.
      gain_db: factor on the amplitude, dB; None: 0, and not described.
    """

    speed: float = 1.0
    noise: Noise | None = None
    offset: float = 0.0
    snr_db: float = 0.0
    gain_db: float | None = None

    def __str__(self) -> str:
        parts = [f'speed {self.speed:g}'] if self.speed != 1 else []
        parts += [f'noise {self.noise.name} at {self.snr_db:g} dB'] if self.noise else []
        parts += [f'gain {self.gain_db:g} dB'] if self.gain_db is not None else []
        return ', '.join(parts)

    @property
    def source(self) -> str:
        """The changes as text, which differs where the copy would."""
        noise = [self.noise.name, self.noise.num_samples] if self.noise else []
        return json.dumps([self.speed, *noise, self.offset, self.snr_db, self.gain_db])

    def num_samples(self, num_samples: int) -> int:
        """Number of samples of the copy of an utterance."""
        up, down = self._ratio
        return -(-num_samples * up // down)

    @property
    def _ratio(self) -> tuple[int, int]:
        return (1 / Fraction(str(self.speed))).as_integer_ratio()

    def apply(self, samples: np.ndarray) -> np.ndarray:
        """The copy of an utterance, float32 `[samples]`; a `DataError` if its noise cannot be used."""
        if self.speed != 1:
            samples = scipy.signal.resample_poly(samples, *self._ratio)
        if self.noise:
            cut = _cut(self.noise, self.offset, len(samples))
            power, noise_power = (float(np.mean(np.square(each, dtype=np.float64))) for each in (samples, cut))
            if not noise_power:
                raise DataError(f'{self.noise.path}: silent where it was cut; remove it from --noise_dir')
            samples = samples + cut * np.float32(np.sqrt(power / noise_power) * 10 ** (-self.snr_db / 20))
        return samples if self.gain_db is None else samples * np.float32(10 ** (self.gain_db / 20))


def _cut(noise: Noise, offset: float, length: int) -> np.ndarray:
    """Samples of a noise from a start within it; one that is too short is repeated, from that start on."""
    if noise.num_samples > length:
        start = int(offset * (noise.num_samples - length))
        return np.resize(read_audio(noise.path, [], start / SAMPLE_RATE, (start + length) / SAMPLE_RATE), length)
    samples = read_audio(noise.path, [])
    return np.resize(np.roll(samples, -int(offset * len(samples))), length)


@dataclasses.dataclass(frozen=True)
class Copies:
    """The augmented copies of each training utterance, beside the utterance itself.

    There is one copy for each speed, with a noise and a gain of its own where these are asked for. A copy that would
    be equal to the utterance is left out.

    Attributes:
      speeds: factors on tempo and pitch.
      noises: noises to draw from; empty: none is added.
      snr_db: least and greatest signal-to-noise ratio, dB.
      gain_db: least and greatest gain, dB; None: no gain.
      seed: random seed; a draw depends on it, the utterance's name and the copy's name alone.
      names: sub-directories that are read, for the warning of dev and test sets.
      problems: noises that were left out.
    """

    speeds: tuple[float, ...] = (1.0,)
    noises: tuple[Noise, ...] = ()
    snr_db: tuple[float, float] = DEFAULT_SNR_DB
    gain_db: tuple[float, float] | None = None
    seed: int = DEFAULT_SEED
    names: tuple[str, ...] = ()
    problems: tuple[Problem, ...] = ()

    @classmethod
    def from_flags(cls, args: argparse.Namespace) -> 'Copies':
        """Copies by the flags of `preprocess_flags.add_copy_flags`; reads the names and headers of the noises.

        Raises:
          UsageError: flags that have no effect, or no training part to copy.
          DataError: no noise that can be read.
        """
        if args.snr and not args.noise_dir:
            raise UsageError('--snr is for --noise_dir; name a directory of noises, or leave --snr out')
        if args.seed is not None and not (args.noise_dir or args.gain):
            raise UsageError('--seed is for --noise_dir and --gain, which draw at random; leave it out')
        noises, problems = _find_noises(args.noise_dir) if args.noise_dir else ([], [])
        copies = cls(
            speeds=tuple(dict.fromkeys(args.speeds or (1.0,))),
            noises=tuple(noises),
            snr_db=args.snr or DEFAULT_SNR_DB,
            gain_db=args.gain,
            seed=DEFAULT_SEED if args.seed is None else args.seed,
            names=tuple(getattr(args, 'name', ())),
            problems=tuple(problems),
        )
        if copies.changes and args.split and not args.split[0]:
            raise UsageError('-s leaves no training part, which alone gets augmented copies; leave their flags out')
        return copies

    @property
    def changes(self) -> bool:
        """Whether there are copies at all."""
        return bool(self.noises or self.gain_db or self.speeds != (1.0,))

    def held_out(self, index_path: str) -> str:
        """Name of the dev or test set that would get copies; empty: there is none."""
        named = [*self.names, os.path.basename(index_path)]
        return next((name for name in named if name.lower().startswith(_HELD_OUT)), '')

    def of(self, recording: Recording) -> list[Recording]:
        """The copies of an utterance, of the same speaker, each with a name and a feature file of its own."""
        found = []
        for speed in self.speeds:
            name = f'sp{speed}'
            change = self._draw(speed, f'{recording.utterance_id} {name}')
            if change != Perturbation():
                found.append(
                    recording._replace(
                        utterance_id=f'{recording.utterance_id}-{name}',
                        relative_path=f'{recording.relative_path}-{name}',
                        change=change,
                    )
                )
        return found

    def _draw(self, speed: float, name: str) -> Perturbation:
        # SHA-256, as Python's hash of a text differs from process to process
        digest = hashlib.sha256(f'{self.seed} {name}'.encode('utf-8', 'surrogateescape')).digest()
        rng = np.random.default_rng(int.from_bytes(digest, 'big'))
        number, offset, snr, gain = rng.random(4).tolist()
        change = Perturbation(speed)
        if self.noises:
            noise, low, high = self.noises[int(number * len(self.noises))], *self.snr_db
            snr_db = round(low + snr * (high - low), 1)
            change = dataclasses.replace(change, noise=noise, offset=round(offset, 6), snr_db=snr_db)
        if self.gain_db:
            low, high = self.gain_db
            change = dataclasses.replace(change, gain_db=round(low + gain * (high - low), 1))
        return change


def _find_noises(directory: str) -> tuple[list[Noise], list[Problem]]:
    """Noises below a directory, sorted by name, and those that cannot be read."""
    noises: list[Noise] = []
    problems: list[Problem] = []

    def note(error: OSError) -> None:
        problems.append(Problem('noises that cannot be read', describe_os_error(error)))

    paths = [os.path.join(parent, name) for parent, _, names in os.walk(directory, onerror=note) for name in names]
    for path in sorted(path for path in paths if path.lower().endswith(AUDIO_SUFFIXES)):
        name = os.path.relpath(path, directory)
        if CONTROL.search(name):  # the index could not hold it
            problems.append(Problem('name with control characters or not in UTF-8', path))
            continue
        try:
            noises.append(Noise(path, name, measure(path)[0]))
        except DataError as error:
            problems.append(Problem('noise that cannot be read', str(error)))
    if not noises:
        reason = f'; {problems[0].where}' if problems else ''
        raise DataError(f'--noise_dir {directory}: no recording in it that can be read{reason}')
    return noises, problems
