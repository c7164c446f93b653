"""What a run is made of: frozen dataclasses, made from the flags once, saved as JSON in the run directory."""

import argparse
import dataclasses
import os

from models.config import MODEL_DEFAULTS, PYRAMID_HALVINGS
from utils.cluster.spec import Cluster, find_cluster
from utils.errors import UsageError
from utils.flags import train_parser

# flags that only some models have
OWN_FLAGS = {
    'conv_layers': ('-cl', ('ds2', 'las')),
    'lookahead_frames': ('--lookahead_frames', ('ds2',)),
    'context_frames': ('--context_frames', ('ds1',)),
    'attention': ('--attention', ('las',)),
    'speller_layers': ('--speller_layers', ('las',)),
    'ctc_weight': ('--ctc_weight', ('las',)),
    'sample_prob': ('--sample_prob', ('las',)),
    'label_smoothing': ('--label_smoothing', ('las',)),
    'attention_images': ('--attention_images', ('las',)),
}
ACTIVATION_SPELLINGS = {'sigmod': 'sigmoid'}


@dataclasses.dataclass(frozen=True)
class TrainConfig:
    """How a model is trained; may change when a run goes on."""

    train_files: tuple[str, ...] = ()
    dev_files: tuple[str, ...] = ()
    batch_size: int = 16
    frames_per_batch: int = 0
    sortagrad: bool = True
    seed: int = 1
    optimizer: str = 'adam'
    learning_rate: float = 2e-5
    momentum: float = 0.99
    beta2: float = 0.999
    grad_clip: float = 1.0
    keep_prob: float = 0.9
    dtype: str = 'float32'
    input_noise: float = 0.0
    sample_prob: float = 0.1
    label_smoothing: str = 'none'
    attention_images: int = 2
    epochs: int = 10
    initial_epoch: int = 0
    lr_schedule: str = 'epoch'
    lr_decay: float = 1.0
    warmup_steps: int = 0
    time_masks: int = 0
    freq_masks: int = 0
    max_time_mask: int = 30
    max_freq_mask: int = 8
    tempo_range: float = 0.0
    warp_range: float = 0.0
    augment_from_epoch: int = 0
    patience: int = 1
    early_stop: int = 0
    validate_steps: int = 0
    checkpoint_secs: float = 600.0
    keep_checkpoints: int = 5
    average_checkpoints: int = 5
    max_bad_steps: int = 10
    summary_steps: int = 100
    use_summary: bool = True

    @property
    def plan_fields(self) -> tuple:
        """What the batch plan depends on: a run resumed in the middle of an epoch must agree in these."""
        return (self.train_files, self.batch_size, self.frames_per_batch, self.sortagrad, self.seed, self.initial_epoch)


@dataclasses.dataclass(frozen=True)
class Flags:
    """A parsed command line.

    Attributes:
      values: every flag, given or default.
      given: names of the flags that the command line sets.
      cluster: that this process trains in; None where it trains alone.
    """

    values: argparse.Namespace
    given: frozenset[str]
    cluster: Cluster | None = None

    def fields_of(self, config_class, given_only: bool) -> dict:
        """The flags that are fields of a configuration class."""
        names = {field.name for field in dataclasses.fields(config_class)} & set(vars(self.values))
        return {name: getattr(self.values, name) for name in names if not given_only or name in self.given}


def parse_train_flags(argv: list[str] | None = None) -> Flags:
    """Parses and checks the command line of run_train.py; exits with status 2 where it cannot work."""
    parser = train_parser()
    values = parser.parse_args(argv)
    for action in parser._actions:  # parse again without defaults: what remains was given
        action.default = argparse.SUPPRESS
    given = frozenset(vars(parser.parse_args(argv)))
    values.activation = ACTIVATION_SPELLINGS.get(values.activation, values.activation)
    if values.keep_prob <= 0:
        values.keep_prob = 1.0
    for name in ('train_files', 'dev_files'):
        setattr(values, name, tuple(getattr(values, name)))
    for name, value in MODEL_DEFAULTS[values.model].items():
        if name not in given:
            setattr(values, name, value)
    _check(values, given)
    is_training = values.mode == 'train'
    return Flags(values, given, find_cluster(values, given, os.environ.get('TF_CONFIG', '')) if is_training else None)


def _check(values, given) -> None:
    if values.frames_per_batch and 'batch_size' in given:
        raise UsageError('--frames_per_batch and -b both set the size of a step; give one of them')
    for name, (flag, models) in OWN_FLAGS.items():
        if name in given and values.model not in models:
            raise UsageError(
                f'{flag} {getattr(values, name)} is for {" and ".join(models)}, -md is {values.model}; leave it out'
            )
    if values.model == 'ds1' and values.rnn_layers != 1:
        raise UsageError(f'-rl {values.rnn_layers}: Deep Speech has one recurrent layer; leave it out')
    num_halving = PYRAMID_HALVINGS - (values.conv_layers > 0)  # convolutions halve time too
    if values.model == 'las' and values.rnn_layers < num_halving:
        raise UsageError(
            f'-rl {values.rnn_layers}: the listener of las has {num_halving} layers that halve time; '
            f'give {num_halving} or more'
        )
    if values.lr_schedule == 'plateau' and values.lr_decay == 1:
        raise UsageError('--lr_schedule plateau divides by --lr_decay, which is 1; give a divisor above 1, such as 2')
    if values.lr_schedule == 'cosine' and values.lr_decay != 1:
        raise UsageError('--lr_decay has no part in --lr_schedule cosine; leave one of them out')
    if values.grad_clip <= 0 and values.grad_clip != -1:
        raise UsageError(f'-gc {values.grad_clip:g} would stop all learning; give a positive norm, or -1 for no limit')
