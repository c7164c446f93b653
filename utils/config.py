"""Training configuration and run flags, each option declared once, and the parser of run_train.py made from them."""

import argparse
import dataclasses
import functools
from collections.abc import Sequence

from models.config import MODEL_DEFAULTS, ModelConfig, option
from utils.cli import Parser, add_options, given_options
from utils.errors import UsageError

_run = functools.partial(option, group='run')
_files = functools.partial(_run, is_required=True, metavar='INDEX')
_training = functools.partial(option, group='training')
_las = functools.partial(option, group='listen, attend and spell', models=('las',))
_augmentation = functools.partial(option, group='augmentation of the training features')
_start = functools.partial(option, group='start from another run')
_record = functools.partial(option, group='records of the run')
_device = functools.partial(option, group='devices')

# options of RunFlags that run_test.py takes too, and run_train.py -m dev|test passes on
DEVICE_OPTIONS = 'gpu_fraction', 'recurrence', 'intra_op_threads', 'inter_op_threads'
ACTIVATION_SPELLINGS = {'sigmod': 'sigmoid'}


@dataclasses.dataclass(frozen=True)
class TrainConfig:
    """Options of training, which may change when a run is resumed. The field names are those in config.json."""

    train_files: tuple[str, ...] = _files((), '-t', '--trainfiles', help='training indexes, one or more')
    dev_files: tuple[str, ...] = _files((), '-d', '--devfiles', help='validation (or test) indexes, one or more')
    train_weights: tuple[float, ...] = _training(
        (), low=1e-3, high=1000, metavar='WEIGHT,WEIGHT',
        help='share of each -t index that an epoch takes, such as 1,0.5: 0.5 takes a random half, and another half in '
        'the next epoch; 2 takes every utterance twice (default: 1 for each)',
    )
    batch_size: int = _training(16, '-b', low=1, help='utterances per step and replica')
    frames_per_batch: int = _training(0, low=0, help='frames per step and replica, padding included; 0: use -b')
    sortagrad: bool = _training(True, help='train the first epoch in order of increasing length')
    seed: int = _training(
        1, low=0, help='random seed of the run: initial weights, order of utterances, dropout, augmentation'
    )
    optimizer: str = _training(
        'adam', '-o', choices=('adam', 'sgd', 'momentum', 'nm', 'rmsprop', 'adagrad'),
        help='optimizer; nm is Nesterov momentum',
    )
    learning_rate: float = _training(2e-5, '-lr', low=1e-12, high=1000, help='peak learning rate')
    momentum: float = _training(
        0.99, low=0, high=0.9999, beside=('optimizer', 'momentum', 'nm'), help='momentum coefficient of momentum and nm'
    )
    beta2: float = _training(0.999, low=0, high=0.99999, beside=('optimizer', 'adam'), help='decay of second moments')
    lr_schedule: str = _training(
        'epoch', choices=('epoch', 'plateau', 'cosine'),
        help='learning rate schedule: divide by --lr_decay after every epoch, divide when the dev error stops '
        'improving, or fall to 0 along a cosine',
    )
    lr_decay: float = _training(
        1.0, low=1, high=1000, beside=('lr_schedule', 'epoch', 'plateau'),
        help='divisor of the epoch and plateau schedules; the Deep Speech 2 paper has 1.2'
    )
    patience: int = _training(
        1, low=1, beside=('lr_schedule', 'plateau'), help='epochs without a better dev error before plateau divides'
    )
    warmup_steps: int = _training(0, low=0, help='steps over which the learning rate rises linearly from 0')
    grad_clip: float = _training(1.0, '-gc', help='largest global norm of the gradients; -1: no limit')
    weight_decay: float = _training(
        0.0, low=0, high=1000, help='decoupled weight decay (AdamW): share of each kernel, times the learning rate, '
        'that an update takes away; 0: none',
    )
    ema: float = _training(
        0.0, low=0, high=0.999999, metavar='DECAY',
        help='decay of an exponential moving average of the weights over updates, such as 0.999; checkpoints, scores '
        'on dev and all other commands then have the averaged weights; 0: no average',
    )
    keep_prob: float = _training(0.9, '-k', high=1, help='dropout keep probability; 0 or less: no dropout')
    dtype: str = _training(
        'float32', choices=('float32', 'bfloat16', 'float16'),
        help='data type of the large matrix products in training; weights, sums and losses are float32; float16 is for '
        'GPUs: convolutions too, dynamic loss scaling',
    )
    input_noise: float = _training(0.0, low=0, high=100, help='standard deviation of noise on the normalised features')
    weight_noise: float = _training(
        0.0, low=0, high=10, help='standard deviation of Gaussian noise on kernels and embeddings, drawn anew at each '
        'step; 0: none',
    )
    weight_noise_from_step: int = _training(
        0, low=0, beside=('weight_noise',), help='updates made before the first one with --weight_noise'
    )
    ctc_smoothing: float = _training(
        0.0, low=0, high=0.9, beside=('ctc_weight',),
        help='label smoothing of CTC, and of the CTC head of las: weight of the divergence of the posteriors from the '
        'uniform distribution, beside the loss; 0: none',
    )
    epochs: int = _training(10, '-p', low=1, high=1_000_000, help='number of epochs to train')
    initial_epoch: int = _training(
        0, '-i', low=0, high=1_000_000,
        help='number of the first epoch; in a run that is resumed, the epoch from which -p counts',
    )
    early_stop: int = _training(0, low=0, help='stop after this many epochs without a better dev error; 0: never')
    max_bad_steps: int = _training(10, low=1, help='stop after this many non-finite losses or gradients in a row')
    sample_prob: float = _las(
        0.1, low=0, high=1, help="scheduled sampling in training: probability of feeding the model's own symbol back"
    )
    label_smoothing: str = _las(
        'none', choices=('none', 'unigram', 'neighborhood'),
        help='move some of the probability of each target symbol to frequent symbols (unigram) or to the symbols '
        'beside it in the transcript (neighborhood)',
    )
    ctc_weight_steps: int = _las(
        0, low=0, beside=('ctc_weight',), help='updates over which the share of the CTC head in the training loss goes '
        'linearly from --ctc_weight to --ctc_weight_end; the loss on dev keeps --ctc_weight; 0: training does too',
    )
    ctc_weight_end: float = _las(
        0.0, low=0, high=0.99, beside=('ctc_weight_steps',), help='share of the CTC head after --ctc_weight_steps'
    )
    attention_images: int = _las(
        2, low=0, high=1000, help='dev utterances whose attention is drawn in RUN_DIR/attention after each epoch'
    )
    time_masks: int = _augmentation(0, low=0, high=1000, help='time masks per utterance')
    max_time_mask: int = _augmentation(
        30, low=1, beside=('time_masks',), help='longest time mask, frames; at most an eighth of an utterance'
    )
    freq_masks: int = _augmentation(0, low=0, high=1000, help='frequency masks per utterance')
    max_freq_mask: int = _augmentation(8, low=1, beside=('freq_masks',), help='widest frequency mask, dimensions')
    tempo_range: float = _augmentation(
        0.0, low=0, high=0.5, help='stretch the time axis by a random factor within 1 ± this'
    )
    warp_range: float = _augmentation(
        0.0, low=0, high=0.5, beside=('features', 40, 81, 161),
        help='stretch the frequency axis by a random factor within 1 ± this (fbank, log)'
    )
    augment_from_epoch: int = _augmentation(0, low=0, help='number of the first epoch with augmentation')
    init_from: str = _start(
        '', metavar='RUN', help='run (packed too) whose weights a new run begins with, as far as names and shapes fit; '
        'model options and vocabulary that are not given are those of RUN (default: none)',
    )
    init_checkpoint: str = _start(
        'best', beside=('init_from',), metavar='{best,latest,average,NAME}',
        help='checkpoint of RUN to take: best, latest, average, or a name in its checkpoints/, such as model-1200',
    )
    init_statistics: bool = _start(
        True, beside=('init_from',), help='take the feature statistics of RUN; no: compute them from -t'
    )
    freeze: int = _start(
        0, low=0, help='layers next to the features that stay as they are at first, convolutions included; 0: none'
    )
    freeze_epochs: int = _start(1, low=1, beside=('freeze',), help='number of epochs in which --freeze holds')
    validate_steps: int = _record(0, low=0, help='steps between validations within an epoch; 0: after epochs only')
    checkpoint_secs: float = _record(600.0, low=0, help='seconds between checkpoints within an epoch; 0: every step')
    keep_checkpoints: int = _record(5, low=1, help='number of newest checkpoints to keep')
    average_checkpoints: int = _record(5, low=0, help='last epochs whose weights are averaged at the end; 0: none')
    summary_steps: int = _record(100, low=1, beside=('use_summary',), help='steps between summaries')
    use_summary: bool = _record(True, '-us', help='write TensorBoard summaries')

    @property
    def plan_fields(self) -> tuple:
        """Options that determine the batch plan; a run resumed within an epoch must have the same values."""
        weights = (self.train_weights,) if self.train_weights else ()  # older checkpoints have none
        others = self.batch_size, self.frames_per_batch, self.sortagrad, self.seed, self.initial_epoch
        return (self.train_files, *others, *weights)


@dataclasses.dataclass(frozen=True)
class RunFlags:
    """Options of this process alone, which are not saved in the run directory."""

    mode: str = _run(
        'train', '-m', choices=('train', 'dev', 'test'),
        help='train, or restore the best checkpoint and score the -d files (dev, test)',
    )
    savepath: str = _run(
        '', '-s', is_required=True, metavar='RUN_DIR',
        help='run directory: checkpoints, config, vocabulary, feature statistics, history, logs',
    )
    restoremodel: bool = _run(
        True, '-r', help='resume from the newest checkpoint if there is one; no: new run, an old one becomes RUN_DIR.1'
    )
    vocabfile: str | None = option(
        None, '-v', group='model',
        help='vocabulary, one "TOKEN ID" a line, <SPACE> for the space (default: the English alphabet, 28 tokens)',
    )
    profile_steps: int = _record(
        0, '--profile', low=0, metavar='STEPS',
        help='steps to trace into RUN_DIR/profile: timelines for chrome://tracing, a table of operations; in a cluster '
        'those of the chief; 0: none',
    )
    gpus: int = _device(1, '-g', low=1, high=64, help='towers on this machine, a batch each; CPU devices without a GPU')
    gpu_fraction: float = _device(1.0, '-gf', low=0.01, high=1, help="share of each GPU's memory to allocate")
    recurrence: str = _device(
        'auto', choices=('auto', 'loop', 'cudnn'),
        help='form of the recurrent layers: cuDNN where a GPU has the cell (-a tanh) and a trial at the start agrees '
        'with the loop (auto), the loop, or cuDNN or an error',
    )
    intra_op_threads: int = _device(
        0, low=0, high=1024, help='threads within an operation; 0: without a GPU one for every two cores, because the '
        'two directions of a layer run side by side',
    )
    inter_op_threads: int = _device(0, low=0, high=1024, help='operations that run at once; 0: one per core')
    ps_hosts: str = _device(
        '', help='parameter servers, host:port,host:port; the workers then update asynchronously (default: none)'
    )
    ws_hosts: str = _device(
        '', help='workers, host:port,host:port; the first is the chief; without --ps_hosts they all-reduce '
        '(default: the cluster in TF_CONFIG, or this machine alone)',
    )
    job_name: str = _device('worker', choices=('ps', 'worker'), help='job of this process in the cluster')
    task_index: int = _device(0, low=0, help='index of this process within its job')
    cluster_timeout_secs: float = _device(
        120.0, low=1, high=604_800, help='longest wait for a task that does not answer, seconds'
    )


@dataclasses.dataclass(frozen=True)
class Flags:
    """A parsed command line of run_train.py.

    Attributes:
      model, train, run: the options, with the defaults of the model where they are not given.
      given: only what the command line gives; `utils.cli.given_options` takes the fields of one dataclass from it.
    """

    model: ModelConfig
    train: TrainConfig
    run: RunFlags
    given: argparse.Namespace


def train_parser() -> Parser:
    """The parser of run_train.py, made from the options of the three dataclasses."""
    parser = Parser(prog='run_train.py', description='Train an end-to-end speech recogniser, or score one.')
    for config_class in (ModelConfig, TrainConfig, RunFlags):
        add_options(parser, config_class)
    return parser


def parse_train_flags(argv: Sequence[str] | None = None) -> Flags:
    """Parses the command line of run_train.py; `option_rules.resolve_flags` checks the options together.

    Raises:
      UsageError: a value that cannot be meant.
      SystemExit: with status 2, for an unknown option or a value out of range.
    """
    given = train_parser().parse_args(argv)
    if 'activation' in given:
        given.activation = ACTIVATION_SPELLINGS.get(given.activation, given.activation)
    keep_prob, grad_clip = getattr(given, 'keep_prob', 1), getattr(given, 'grad_clip', -1)
    if 0 < keep_prob < 0.05:
        raise UsageError(f'-k {keep_prob:g} keeps next to nothing; give 0.05 to 1, or 0 for no dropout')
    if keep_prob <= 0:
        given.keep_prob = 1.0
    if grad_clip < 1e-6 and grad_clip != -1:
        raise UsageError(f'-gc {grad_clip:g} would stop all learning; give a positive norm, or -1 for no limit')
    model_defaults = MODEL_DEFAULTS[getattr(given, 'model', ModelConfig.model)]
    model = ModelConfig(**{**model_defaults, **given_options(given, ModelConfig)})
    train = TrainConfig(**given_options(given, TrainConfig))
    return Flags(model, train, RunFlags(**given_options(given, RunFlags)), given)
