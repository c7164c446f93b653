"""What a run is made of: frozen dataclasses, made from the flags once, saved as JSON in the run directory."""

import dataclasses
import json
from pathlib import Path

from models.config import ModelConfig
from utils.errors import DataError, UsageError
from utils.files import write_text

CONFIG_NAME = 'config.json'


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
class RunConfig:
    """Everything in config.json. `feature_spec` is how the features were made, e.g. `fbank-40-0.02-0.01`."""

    model: ModelConfig
    train: TrainConfig
    feature_spec: str

    def save(self, run_dir: str) -> None:
        """Writes RUN_DIR/config.json."""
        text = json.dumps(dataclasses.asdict(self), indent=2) + '\n'
        write_text(Path(run_dir) / CONFIG_NAME, text)

    @classmethod
    def load(cls, run_dir: str) -> 'RunConfig':
        """Reads RUN_DIR/config.json.

        Raises:
          DataError: no such run, or a damaged file.
        """
        path = Path(run_dir) / CONFIG_NAME
        try:
            values = json.loads(path.read_text())
            train = {k: tuple(v) if isinstance(v, list) else v for k, v in values['train'].items()}
            return cls(ModelConfig(**values['model']), TrainConfig(**train), values['feature_spec'])
        except FileNotFoundError:
            raise DataError(
                f'{run_dir}: no {CONFIG_NAME} here; name a directory that run_train.py has written'
            ) from None
        except (json.JSONDecodeError, KeyError, TypeError, UnicodeDecodeError) as error:
            raise DataError(
                f'{path}: not a run configuration ({error}); restore it or train anew in another -s'
            ) from None


def check_same_model(saved: ModelConfig, given: dict, run_dir: str) -> None:
    """A flag that contradicts the run directory is an error that names both values.

    Args:
      saved: of the run directory.
      given: the model's fields that the command line sets.
      run_dir: for the message.
    """
    for name, value in given.items():
        if getattr(saved, name) != value:
            raise UsageError(
                f'{run_dir} holds a model with {name} {getattr(saved, name)}, the command line says {value}; '
                f'leave the flag out, give another -s, or start new with -r no'
            )
