"""Preprocessing of a corpus: features, index and report; used by the preprocessing commands."""

import functools
import os
import sys
import time
from argparse import Namespace
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from utils.data.corpora import Problem, Recording
from utils.data.extraction import Task, extract_all
from utils.data.features import DEFAULT_FEATLEN, FeatureSpec
from utils.data.index import index_key, write_index
from utils.data.perturb import Copies
from utils.data.split import check_speakers, split_speakers
from utils.data.transcripts import UNKNOWN
from utils.data.vocabulary import Vocabulary
from utils.errors import CONTROL, DataError, printable

_MAX_NAMED = 50  # problems of each kind that are listed; the others are counted


@dataclass(frozen=True)
class Output:
    """Features and indexes to make.

    Attributes:
      spec: kind of features.
      save_dir: directory of the feature files, which are placed by each recording's ``relative_path``.
      index_path: path of the index to write.
      ratio: shares of train, dev and test; None: one index.
      copies: augmented copies of the utterances, of train alone where the corpus is split.
      num_jobs: number of processes.
    """

    spec: FeatureSpec
    save_dir: str
    index_path: str
    ratio: tuple[float, ...] | None
    copies: Copies
    num_jobs: int

    @classmethod
    def from_flags(cls, args: Namespace, unit: str = '') -> 'Output':
        """Output by the flags of `PreprocessParser`; transcripts of each ``unit`` have feature files of their own."""
        spec = FeatureSpec(args.mode, args.featlen or DEFAULT_FEATLEN[args.mode], args.winlen, args.winstep)
        save_dir = os.path.join(args.save, f'{spec}-{unit}' if unit else str(spec))
        return cls(spec, save_dir, args.jsonfile, args.split, Copies.from_flags(args), args.jobs)


def read_corpus(
    walk: Callable[[str, str], tuple[list[Recording], list[Problem]]], path: str, names: Sequence[str]
) -> tuple[list[Recording], list[Problem]]:
    """Recordings and problems that ``walk(path, name)`` finds for all names; a `DataError` if there is no recording."""
    recordings: list[Recording] = []
    problems: list[Problem] = []
    for name in names:
        found, left_out = walk(path, name)
        recordings += found
        problems += left_out
    check_not_empty(recordings, problems, f'{path}: no utterance with a readable transcript in {", ".join(names)}')
    return recordings, problems


def check_not_empty(recordings: Sequence[Recording], problems: Sequence[Problem], message: str) -> None:
    """Without a recording, lists the problems and raises a `DataError` with this message."""
    if not recordings:
        _name_problems(problems)
        raise DataError(f'{message}; {"see the lines above" if problems else "it is empty"}')


def preprocess(
    recordings: Sequence[Recording],
    problems: Sequence[Problem],
    vocabulary: Vocabulary,
    output: Output,
    *,
    vocabulary_path: str | None = None,
    keeps_unknown: bool = False,
) -> None:
    """Computes missing features, writes the index (with a ratio, the three indexes) and prints a report.

    Args:
      recordings: recordings, in the order of the index.
      problems: problems of the corpus found so far.
      vocabulary: vocabulary of the labels.
      output: features and indexes to make.
      vocabulary_path: path of the vocabulary to write; None: not written.
      keeps_unknown: keep utterances with units outside the vocabulary, which get the id -1 in the label; else they are
        left out. A set for testing keeps them: its error rate would be too good without.

    Raises:
      DataError: utterances were left out (raised after all else is done), or none is left.
    """
    started = time.monotonic()
    problems = [*problems, *output.copies.problems]
    usable = list(recordings) if keeps_unknown else _spellable(recordings, vocabulary, problems)
    if output.ratio:
        _check_speakers(usable, output.ratio)
    _check_path(output.index_path, 'JSONFILE')
    if vocabulary_path:
        _check_path(vocabulary_path, '--make_vocab')
        if os.path.realpath(vocabulary_path) == os.path.realpath(output.index_path):
            raise DataError(f'{output.index_path} is the index too; give --make_vocab another name')
    num_unknown = sum(bool(vocabulary.unknown(recording.text)) for recording in usable)
    make_features = functools.partial(_make_features, vocabulary, output, problems)
    indexes, num_reused = _make_indexes(usable, output, make_features, problems)
    if not indexes:
        raise DataError(f'no utterance is left of {len(recordings)}, so no index is written; see the lines above')
    if vocabulary_path:  # before the index, which tells a recipe that all is there
        vocabulary.write(vocabulary_path)
    for path, part in indexes.items():
        write_index(path, ({**entry, **_paths_from(path, entry)} for entry in part))
    if num_unknown:
        print(f'{num_unknown} transcripts have units outside {vocabulary.name}, which will count as errors')
    _print_report(indexes, problems, num_reused, time.monotonic() - started)
    if problems:
        num_left = sum(map(len, indexes.values()))
        raise DataError(f'{len(problems)} left out, named above; the other {num_left} utterances are in the index')


def _paths_from(index_path: str, entry: dict) -> dict:
    """The paths of an entry as the index has them: relative where the file is below it."""
    return {name: index_key(entry[name], index_path) for name in ('key', 'audio') if name in entry}


def _check_speakers(recordings: Sequence[Recording], ratio: tuple[float, ...]) -> None:
    """Raises a `DataError` if a recording has no speaker, or the speakers are too few for the parts."""
    unnamed = [recording.where for recording in recordings if not recording.speaker]
    if unnamed:
        raise DataError(
            f'-s/--split is by speaker, and {len(unnamed)} of {len(recordings)} utterances have none, such as '
            f'{unnamed[0]}; add a column speaker (in a Kaldi directory: utt2spk), or leave -s out'
        )
    check_speakers(len({recording.speaker for recording in recordings}), ratio)


def _spellable(recordings: Sequence[Recording], vocabulary: Vocabulary, problems: list[Problem]) -> list[Recording]:
    """Recordings whose transcripts are within the vocabulary; the others are added to ``problems``."""
    result = []
    for recording in recordings:
        unknown = vocabulary.unknown(recording.text)
        if unknown:
            detail = f'{", ".join(map(repr, unknown[:5]))} not in {vocabulary.name}'
            problems.append(Problem('transcript outside the vocabulary', recording.where, detail))
        else:
            result.append(recording)
    return result


def _check_path(path: str, argument: str) -> None:
    """Raises a `DataError` before the work starts if the file that an argument names cannot be written."""
    directory = os.path.dirname(path) or '.'
    os.makedirs(directory, exist_ok=True)
    if os.path.isdir(path):
        raise DataError(f'{path} is a directory; give the name of the file to write as {argument}')
    if not os.access(directory, os.W_OK):
        raise DataError(f'{directory}: no permission to write there; name another {argument}')


def _make_indexes(
    recordings: Sequence[Recording],
    output: Output,
    make_features: Callable[[Sequence[Recording]], tuple[list[dict], int]],
    problems: list[Problem],
) -> tuple[dict[str, list[dict]], int]:
    """Entries of each index by its path, none if no utterance is left, and the number of reused feature files."""
    copies, index_path = output.copies, output.index_path
    if not output.ratio and copies.changes and (name := copies.held_out(index_path)):
        what = 'will have augmented copies, on which error rates are not those of the recordings; leave their flags out'
        print(f'warning: {name} {what}', file=sys.stderr)
    entries, num_reused = make_features(recordings)
    _name_problems(problems)
    if not entries:
        return {}, 0
    indexes = _split(entries, index_path, output.ratio) if output.ratio else {index_path: entries}
    if copies.changes:
        num_named, train = len(problems), next(iter(indexes.values()))
        kept = {entry['key'] for entry in train}
        made, num_more = make_features(_copies_of(kept, recordings, output, problems))
        train += made
        num_reused += num_more
        _name_problems(problems[num_named:])
    return indexes, num_reused


def _copies_of(
    kept: set[str], recordings: Sequence[Recording], output: Output, problems: list[Problem]
) -> list[Recording]:
    """Augmented copies of the recordings with these feature files; ``problems`` gets those whose name is taken."""
    taken = {recording.relative_path for recording in recordings}
    originals = [recording for recording in recordings if _feature_path(output, recording) in kept]
    found = [copy for recording in originals for copy in output.copies.of(recording)]
    clashes = [copy for copy in found if copy.relative_path in taken]
    problems += [Problem('copy with the name of another utterance', copy.where) for copy in clashes]
    return [copy for copy in found if copy.relative_path not in taken]


def _feature_path(output: Output, recording: Recording) -> str:
    return os.path.join(output.save_dir, f'{recording.relative_path}.npz')


def _make_features(
    vocabulary: Vocabulary, output: Output, problems: list[Problem], recordings: Sequence[Recording]
) -> tuple[list[dict], int]:
    """Entries of the index, with the path of the npz as ``key``, and the number of reused feature files.

    Failures are added to ``problems``.
    """
    paths = [_feature_path(output, recording) for recording in recordings]
    tasks = (
        Task(
            each.audio_path, path, vocabulary.encode(each.text, unknown=UNKNOWN), each.start_secs, each.end_secs,
            each.change,
        )
        for each, path in zip(recordings, paths, strict=True)
    )  # fmt: skip
    outcomes = extract_all(tasks, len(recordings), output.spec, output.num_jobs)
    entries, suspicious = [], []
    for recording, path, outcome in zip(recordings, paths, outcomes, strict=True):
        if outcome.kind:
            problems.append(Problem(outcome.kind, recording.where, outcome.detail))
            continue
        suspicious += [Problem('suspicious recording', recording.where, text) for text in outcome.warnings]
        entries.append(
            {
                'key': path,
                'duration': round(outcome.duration_secs, 6),
                'texts': recording.text,
                'frames': outcome.frames,
                'features': str(output.spec),
                'speaker': recording.speaker,
                **({'augmentation': str(recording.change)} if recording.change else _source(recording)),
            }
        )
    _name_problems(suspicious, 'warning')
    return entries, sum(outcome.is_reused for outcome in outcomes)


def _source(recording: Recording) -> dict:
    """The recording of an utterance and its segment, in seconds, for those who listen to it."""
    if CONTROL.search(recording.audio_path):  # JSON could not hold the path
        return {}
    segment = {'start': recording.start_secs, 'end': recording.end_secs}
    is_whole = not recording.start_secs and recording.end_secs is None
    return {'audio': recording.audio_path, **({} if is_whole else segment)}


def _split(entries: Sequence[dict], index_path: str, ratio: tuple[float, ...]) -> dict[str, list[dict]]:
    """Entries of each part, by the path of its index."""
    duration_of: Counter[str] = Counter()
    for entry in entries:
        duration_of[entry['speaker']] += entry['duration']
    stem = index_path.removesuffix('.json')
    return {
        f'{stem}.{part}.json': [entry for entry in entries if entry['speaker'] in set(speakers)]
        for part, speakers in split_speakers(duration_of, ratio).items()
    }


def _name_problems(problems: Sequence[Problem], label: str = 'left out') -> None:
    """Prints a line on stderr for each problem, and a count for kinds with many."""
    named: Counter[str] = Counter()
    for kind, where, detail in problems:
        named[kind] += 1
        if named[kind] <= _MAX_NAMED:
            print(printable(f'{label}: {kind}: {where}{": " if detail else ""}{detail}'), file=sys.stderr)
    for kind, count in named.items():
        if count > _MAX_NAMED:
            print(f'{label}: {kind}: and {count - _MAX_NAMED} more', file=sys.stderr)


def _print_report(indexes: dict[str, list[dict]], problems: Sequence[Problem], num_reused: int, secs: float) -> None:
    for path, entries in indexes.items():
        durations = [entry['duration'] for entry in entries]
        speakers = {entry['speaker'] for entry in entries}
        num_copies = sum('augmentation' in entry for entry in entries)
        print(
            f'{path}: {len(entries)} utterances of {"unknown" if "" in speakers else len(speakers)} speakers, '
            f'{sum(durations) / 3600:.3f} hours, longest {max(durations):.2f} s'
            + (f'; {num_copies} are augmented copies' if num_copies else '')
        )
    num_made = sum(map(len, indexes.values())) - num_reused
    print(f'features: {num_made} made, {num_reused} there already, in {secs:.1f} s')
    counts = Counter(problem.kind for problem in problems)
    print(f'left out: {len(problems)}' + ''.join(f'; {kind}: {count}' for kind, count in counts.items()))
