"""The flags of run_train.py that say what is trained."""

import argparse

from utils.cli import count, natural, number, yes_no


def add_model_flags(parser: argparse.ArgumentParser) -> None:
    """The model and its sizes."""
    add = parser.add_argument_group('model').add_argument
    add(
        '-md',
        '--model',
        choices=('ds1', 'ds2', 'las'),
        default='ds2',
        help='Deep Speech, Deep Speech 2, or Listen, Attend and Spell',
    )
    add(
        '-rc',
        '--rnncell',
        dest='rnn_cell',
        choices=('gru', 'lstm', 'rnn'),
        default='gru',
        help='recurrent cell; unless given, ds1: rnn, las: lstm',
    )
    add(
        '-n',
        '--hiddens',
        dest='hidden_units',
        type=count,
        default=1024,
        help='units of each recurrent layer and direction',
    )
    add(
        '-f',
        '--features',
        type=int,
        choices=(13, 39, 40, 81, 161),
        default=81,
        help='feature dimensions; must match the index',
    )
    add(
        '-c',
        '--classes',
        type=count,
        help='outputs: the vocabulary plus one; left out, it is taken from the vocabulary',
    )
    add(
        '-v',
        '--vocabfile',
        help='one "TOKEN ID" a line, <SPACE> for the space; left out: the English alphabet, 28 tokens',
    )


def add_layer_flags(parser: argparse.ArgumentParser) -> None:
    """Its layers."""
    add = parser.add_argument_group('layers').add_argument
    add(
        '-rl',
        '--rnn_layers',
        type=count,
        default=7,
        help='recurrent layers; ds1 has 1; las: of the listener, 4 unless given',
    )
    add('-cl', '--conv_layers', type=int, choices=(1, 2, 3), default=3, help='convolutions; las: none unless given')
    add(
        '-a',
        '--activation',
        choices=('relu', 'tanh', 'sigmod', 'sigmoid', 'elu'),
        default='relu',
        help='of the recurrent candidate (ds1: of every layer); relu is clipped at 20; las: tanh unless given',
    )
    add(
        '-bn',
        '--batchnorm',
        dest='batch_norm',
        type=yes_no,
        default=True,
        metavar='{yes,no}',
        help='batch normalisation; ds1, las: no unless given',
    )
    add(
        '-ub',
        '--use_bidirectional_rnn',
        dest='bidirectional',
        type=yes_no,
        default=True,
        metavar='{yes,no}',
        help='no: one direction, with a lookahead convolution (ds2)',
    )
    add(
        '--lookahead_frames',
        type=natural,
        default=20,
        help='output frames the lookahead convolution sees ahead (ds2 with -ub no)',
    )
    add('--context_frames', type=natural, default=9, help='input frames either side of a frame (ds1)')


def add_speller_flags(parser: argparse.ArgumentParser) -> None:
    """What only las has."""
    add = parser.add_argument_group('listen, attend and spell').add_argument
    add(
        '--attention',
        choices=('content', 'location'),
        default='location',
        help='what a frame is scored by: its content, or the place of the last attention as well',
    )
    add('--speller_layers', type=count, default=1, help='recurrent layers of the speller')
    add(
        '--ctc_weight',
        type=number(float, 0, 0.99),
        default=0.2,
        help="share of a CTC head's loss on the listener; 0: no such head, as in the paper",
    )
    add('--sample_prob', type=number(float, 0, 1), default=0.1, help='how often a symbol is the own guess, in training')
    add(
        '--label_smoothing',
        choices=('none', 'unigram', 'neighborhood'),
        default='none',
        help="give a little of each symbol's probability to frequent symbols, or to its neighbours in the transcript",
    )
    add(
        '--attention_images',
        type=natural,
        default=2,
        help='dev utterances whose attention is drawn after each epoch, in RUN/attention',
    )
