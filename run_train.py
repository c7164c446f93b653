"""Trains an end-to-end speech recogniser into a run directory, or scores one on dev or test indexes."""

import logging
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from models.config import ModelConfig
from utils.cli import as_text, given_options
from utils.cluster.spec import find_cluster
from utils.config import DEVICE_OPTIONS, Flags, RunFlags, parse_train_flags
from utils.errors import run_main
from utils.system import import_tensorflow

log = logging.getLogger(__name__)


def score(flags: Flags) -> int:
    """Restores the best checkpoint and scores the -d files, like run_test.py."""
    import run_test
    from utils.option_rules import check_same_model
    from utils.pack.archive import require_directory
    from utils.run_directory import RunConfig

    run_dir = flags.run.savepath
    require_directory(run_dir, f'the result of -m {flags.run.mode}', 'score it with run_test.py --out DIR')
    check_same_model(RunConfig.load(run_dir).model, given_options(flags.given, ModelConfig), run_dir)
    out_dir = str(Path(run_dir) / flags.run.mode)
    if 'gpus' in flags.given:
        log.warning('-g %d has no effect with -m %s: one device scores', flags.run.gpus, flags.run.mode)
    given = {name: as_text(value) for name, value in given_options(flags.given, RunFlags).items()}
    devices = [part for name in DEVICE_OPTIONS if name in given for part in (f'--{name}', given[name])]
    batch_size = str(flags.train.batch_size)
    return run_test.main(
        ['-s', run_dir, '-t', *flags.train.dev_files, '-b', batch_size, '--out', out_dir, *devices]
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
