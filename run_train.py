"""Trains an end-to-end speech recogniser into a run directory, or scores one on dev or test indexes."""

import os
import sys
from collections.abc import Sequence
from pathlib import Path

from models.config import ModelConfig
from utils.cli import given_options
from utils.cluster.spec import find_cluster
from utils.config import Flags, parse_train_flags
from utils.errors import run_main
from utils.system import import_tensorflow


def score(flags: Flags) -> int:
    """Restores the best checkpoint and scores the -d files, like run_test.py."""
    import run_test
    from utils.option_rules import check_same_model
    from utils.run_directory import RunConfig

    run_dir = flags.run.savepath
    check_same_model(RunConfig.load(run_dir).model, given_options(flags.given, ModelConfig), run_dir)
    out_dir = str(Path(run_dir) / flags.run.mode)
    return run_test.main(
        ['-s', run_dir, '-t', *flags.train.dev_files, '-b', str(flags.train.batch_size), '--out', out_dir]
    )


def main(argv: Sequence[str] | None = None) -> int:
    flags = parse_train_flags(argv)
    if flags.run.mode != 'train':
        return score(flags)
    cluster = find_cluster(flags.run, flags.given, os.environ.get('TF_CONFIG', ''))
    if not cluster or cluster.is_chief:  # the other tasks get the options of the chief
        from utils.option_rules import resolve_flags

        flags = resolve_flags(flags)
    import_tensorflow()
    from utils.training import train

    return train(flags, cluster)


if __name__ == '__main__':
    sys.exit(run_main(main))
