"""The model card of a packed run: a README in Markdown, made from its configuration and records."""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from models.config import ModelConfig
from utils.cli import as_flag
from utils.config import TrainConfig
from utils.data.features import FeatureSpec
from utils.data.vocabulary import SPACE
from utils.decode.options import Tuned
from utils.errors import printable
from utils.run_directory import RunConfig

TITLES = {'ds1': 'Deep Speech', 'ds2': 'Deep Speech 2', 'las': 'Listen, Attend and Spell'}
NOT_STATED = 'not stated'
SHOWN_TOKENS = 60

USE = """
## Use

With the toolkit that wrote it, this file takes the place of a run directory:

    python run_predict.py -s {name} recording.flac
    python run_test.py -s {name} -t index.json --out results
    python run_train.py --init_from {name} -t my-train.json -d my-dev.json -s my-run
{lm}
`weights.safetensors` holds the variables by name, `config.json` all options, `vocab.txt` the symbols by class,
`feature_statistics.npz` mean and deviation of the features, `manifest.json` the SHA-256 of each file.
"""
USE_LM = '    python run_predict.py -s {name} --lm {name} recording.flac      # with its language model\n'


@dataclasses.dataclass(frozen=True)
class ModelCard:
    """What the card states.

    Attributes:
      config: configuration of the run.
      tokens: tokens of the vocabulary.
      name: name of the packed file.
      checkpoint: the checkpoint, and how it was chosen.
      num_parameters: number of values in the weights.
      dtype: type of the matrices in the file.
      hours: amount of training speech as text; empty: not known.
      scores: scores on dev by name; those that are not known are missing or None.
      tuned: decoding weights of the language model; None: not tuned.
      lm: name of the language model's file; empty: there is none.
      licence: licence of the model; empty: not stated.
    """

    config: RunConfig
    tokens: Sequence[str]
    name: str
    checkpoint: str
    num_parameters: int
    dtype: str
    hours: str
    scores: Mapping[str, Any]
    tuned: Tuned | None
    lm: str
    licence: str

    @property
    def rates(self) -> str:
        """Error rates on dev by greedy decoding, as text."""
        return _rates(self.scores)

    def rows(self) -> dict[str, str]:
        """The facts by title."""
        model, train = self.config.model, self.config.train
        spec = FeatureSpec.parse(self.config.feature_spec)
        frames = f'{1000 * spec.winlen_secs:g} ms every {1000 * spec.winstep_secs:g} ms'
        rows = {
            'model': f'{TITLES[model.model]}, {self.num_parameters:,} parameters: {_options(model, ModelConfig())}',
            'input': f'speech, one channel, 16 kHz; {spec.mode} features, {spec.featlen} a frame, {frames}',
            'output': f'{len(self.tokens)} symbols: {_symbols(self.tokens)}',
            'training data': f'{self.hours or "amount not known"} ({_names(train.train_files)})',
            'checkpoint': self.checkpoint,
            f'dev set ({_names(train.dev_files)}), greedy': self.rates,
            'weights in this file': self.dtype + ('' if self.dtype == 'float32' else ' (vectors: float32)'),
            'training options': _options(train, TrainConfig(train_files=train.train_files, dev_files=train.dev_files)),
            'licence': self.licence or NOT_STATED,
        }
        if self.lm:
            rows['language model'] = self.lm + (self._tuned_rates(self.tuned) if self.tuned else ', not tuned')
        return rows

    @staticmethod
    def _tuned_rates(tuned: Tuned) -> str:
        return f': weight {tuned.lm_weight:g}, bonus {tuned.word_bonus:g}; on the dev set {_rates(vars(tuned))}'

    def text(self) -> str:
        """The card in Markdown."""
        use_lm = USE_LM.format(name=self.name) if self.lm else ''
        table = ''.join(f'| {title} | {_cell(value)} |\n' for title, value in self.rows().items())
        heading = f'# {self.name}: {TITLES[self.config.model.model]}, a speech recogniser\n\n'
        table = '| what | value |\n|---|---|\n' + table
        return printable_lines(heading + table + USE.format(name=self.name, lm=use_lm))


def printable_lines(text: str) -> str:
    """The text with control characters other than the end of a line escaped."""
    return '\n'.join(map(printable, text.split('\n')))


def _rates(scores: Mapping[str, Any]) -> str:
    found = ((name.upper(), scores.get(name)) for name in ('wer', 'cer'))
    return ', '.join(f'{name} {100 * rate:.2f} %' for name, rate in found if rate is not None) or 'not known'


def _cell(text: str) -> str:
    """Text for a cell of a table, which a bar or a line's end would break."""
    return text.replace('|', '\\|').replace('\n', ' ')


def _names(paths: Sequence[str]) -> str:
    return ' '.join(Path(path).name for path in paths) or 'none'


def _symbols(tokens: Sequence[str]) -> str:
    shown = ' '.join(SPACE if token == ' ' else token for token in tokens[:SHOWN_TOKENS])
    return f'`{shown}{" …" if len(tokens) > SHOWN_TOKENS else ""}`'


def _options(config: Any, default: Any) -> str:
    """The options that differ from the defaults, as on the command line."""
    fields = [field.name for field in dataclasses.fields(config)]
    changed = [name for name in fields if getattr(config, name) != getattr(default, name)]
    flags = ' '.join(as_flag(type(config), name, getattr(config, name)) for name in changed)
    return f'`{flags}`' if flags else 'all options at their defaults'
