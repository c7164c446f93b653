"""The command line of run_train.py: every flag with its help."""

from utils.cli import Parser, count, natural, number, yes_no
from utils.model_flags import add_layer_flags, add_model_flags, add_speller_flags

OPTIMIZERS = ('adam', 'sgd', 'momentum', 'nm', 'rmsprop', 'adagrad')


def _add_training_flags(parser):
    add = parser.add_argument_group('training').add_argument
    add('-b', '--batch_size', type=count, default=16, help='utterances a step, a replica')
    add('--frames_per_batch', type=natural, default=0, help='instead of -b: frames a step, padding included; 0: use -b')
    add('-o', '--optimizer', choices=OPTIMIZERS, default='adam', help='nm is Nesterov momentum')
    add('-lr', '--learning_rate', type=number(float, 0), default=2e-5, help='peak learning rate')
    add(
        '-k',
        '--keep_prob',
        type=number(float, None, 1),
        default=0.9,
        help='dropout keep probability; 0 or less: no dropout',
    )
    add(
        '--dtype',
        choices=('float32', 'bfloat16'),
        default='float32',
        help='what the large matrix products are multiplied in while training; weights, sums and losses are float32',
    )
    add('--input_noise', type=number(float, 0), default=0.0, help='deviation of the noise added to normalised features')
    add('-gc', '--grad_clip', type=number(float), default=1.0, help='largest global gradient norm; -1: no limit')
    add('-p', '--epochs', type=count, default=10, help='epochs to run')
    add('-i', '--initial_epoch', type=natural, default=0, help='number of the first epoch')
    add(
        '--lr_schedule',
        choices=('epoch', 'plateau', 'cosine'),
        default='epoch',
        help='divide by --lr_decay every epoch, divide when dev stops improving, or fall to 0 along a cosine',
    )
    add(
        '--lr_decay',
        type=number(float, 1),
        default=1.0,
        help='divisor of the epoch and plateau schedules; 1.2 in the Deep Speech 2 paper',
    )
    add(
        '--patience',
        type=count,
        default=1,
        help='epochs without a better dev error before the plateau schedule divides',
    )
    add('--warmup_steps', type=natural, default=0, help='steps over which the rate rises from 0')
    add('--momentum', type=number(float, 0, 1), default=0.99, help='of momentum and nm')
    add('--beta2', type=number(float, 0, 1), default=0.999, help="adam's decay of the second moment")
    add('--sortagrad', type=yes_no, default=True, metavar='{yes,no}', help='first epoch in order of increasing length')
    add('--seed', type=natural, default=1, help='of initial weights, order, dropout and augmentation')
    add('--early_stop', type=natural, default=0, help='stop after so many epochs without a better dev error; 0: never')
    add('--max_bad_steps', type=count, default=10, help='stop after so many steps in a row whose loss is not finite')


def _add_augmentation_flags(parser):
    add = parser.add_argument_group('augmentation of the training features').add_argument
    add('--time_masks', type=natural, default=0, help='stretches of frames hidden in each utterance')
    add('--max_time_mask', type=count, default=30, help='longest stretch, frames; at most an eighth of the utterance')
    add('--freq_masks', type=natural, default=0, help='bands of features hidden in each utterance')
    add('--max_freq_mask', type=count, default=8, help='widest band, features')
    add(
        '--tempo_range',
        type=number(float, 0, 0.5),
        default=0.0,
        help='stretch the time axis by a factor within 1 ± this',
    )
    add(
        '--warp_range',
        type=number(float, 0, 0.5),
        default=0.0,
        help='stretch the frequency axis by a factor within 1 ± this (fbank, log)',
    )
    add('--augment_from_epoch', type=natural, default=0, help='number of the first epoch that is augmented')


def _add_run_flags(parser):
    add = parser.add_argument_group('run').add_argument
    add(
        '-m',
        '--mode',
        choices=('train', 'dev', 'test'),
        default='train',
        help='dev, test: restore the best checkpoint and score the -d files',
    )
    add('-t', '--trainfiles', dest='train_files', nargs='+', required=True, metavar='INDEX', help='training indexes')
    add(
        '-d',
        '--devfiles',
        dest='dev_files',
        nargs='+',
        required=True,
        metavar='INDEX',
        help='validation (or test) indexes',
    )
    add(
        '-s',
        '--savepath',
        required=True,
        metavar='RUN_DIR',
        help='run directory: checkpoints, config, vocabulary, feature statistics, history, logs',
    )
    add(
        '-r',
        '--restoremodel',
        type=yes_no,
        default=True,
        metavar='{yes,no}',
        help='yes: go on from the newest checkpoint if there is one; no: start new, an old run is kept as RUN_DIR.1',
    )


def _add_record_flags(parser):
    add = parser.add_argument_group('what a run keeps').add_argument
    add('-us', '--use_summary', type=yes_no, default=True, metavar='{yes,no}', help='write TensorBoard summaries')
    add(
        '--profile',
        dest='profile_steps',
        type=natural,
        default=0,
        metavar='STEPS',
        help='trace so many steps into RUN_DIR/profile: timelines for chrome://tracing, a table of operations; '
        "in a cluster the chief's; 0: none",
    )
    add('--summary_steps', type=count, default=100, help='steps between summaries')
    add(
        '--validate_steps',
        type=natural,
        default=0,
        help='validate every so many steps as well as after each epoch; 0: epochs only',
    )
    add(
        '--checkpoint_secs',
        type=number(float, 0),
        default=600.0,
        help='seconds between checkpoints within an epoch; 0: after every step',
    )
    add('--keep_checkpoints', type=count, default=5, help='newest checkpoints kept')
    add(
        '--average_checkpoints',
        type=natural,
        default=5,
        help='epochs whose weights are averaged at the end; 0: no average',
    )


def _add_device_flags(parser):
    add = parser.add_argument_group('devices').add_argument
    add(
        '-g',
        '--gpus',
        type=count,
        default=1,
        help='towers on this machine, each with its own batch; without GPUs they are CPU devices',
    )
    add('-gf', '--gpu_fraction', type=number(float, 0.01, 1), default=1.0, help="share of a GPU's memory to take")
    add(
        '--intra_op_threads',
        type=natural,
        default=0,
        help='threads within an operation; 0: without a GPU one for every two cores, because the two directions of a '
        'layer run side by side',
    )
    add('--inter_op_threads', type=natural, default=0, help='operations at once; 0: one a core')
    add('--ps_hosts', default='', help='parameter servers, host:port,host:port; the workers then update asynchronously')
    add(
        '--ws_hosts',
        default='',
        help='workers, host:port,host:port; without --ps_hosts they all-reduce; the first one is the chief. '
        'Left out: the cluster in TF_CONFIG, or this machine alone',
    )
    add('--job_name', choices=('ps', 'worker'), default='worker', help="this process's job in the cluster")
    add('--task_index', type=natural, default=0, help="this process's number within its job")
    add(
        '--cluster_timeout_secs',
        type=number(float, 1),
        default=120.0,
        help='longest wait, in seconds, for a task of the cluster that does not answer',
    )


def train_parser() -> Parser:
    """The parser of run_train.py."""
    parser = Parser(prog='run_train.py', description='Train an end-to-end speech recogniser, or score one.')
    for add_group in (
        add_model_flags,
        add_layer_flags,
        add_speller_flags,
        _add_training_flags,
        _add_augmentation_flags,
        _add_run_flags,
        _add_record_flags,
        _add_device_flags,
    ):
        add_group(parser)
    return parser
