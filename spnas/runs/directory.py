"""The folder a run keeps everything in."""

from __future__ import annotations

import fcntl
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from spnas.errors import RunError
from spnas.names import near_miss

_NAME = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]*")


@dataclass(frozen=True)
class RunDirectory:
    """A run's folder and the paths of what is in it.

    Attributes:
        path: The folder.
    """

    path: Path

    @classmethod
    def create(cls, root: Path, name: str) -> RunDirectory:
        """Make a new run's folder, and the folders inside it.

        Args:
            root: Folder of runs, made where it is missing.
            name: The run's name: letters, digits, dots, underscores and hyphens, no dot first.

        Raises:
            RunError: The name cannot be used, a run of that name exists, or the folder cannot be made.
        """
        if not _NAME.fullmatch(name):
            raise RunError(
                f"run name {name!r}: expected letters, digits, '.', '_' and '-' only, not starting with '.'"
            )
        run = cls(Path(root) / name)
        try:
            run.path.parent.mkdir(parents=True, exist_ok=True)
            run.path.mkdir()
            run.pareto_dir.mkdir()
            run.weights_dir.mkdir()
        except FileExistsError:
            raise RunError(
                f"run {run.path} exists: go on with it by `spnas search --resume {run.path}`, "
                "or give another --name"
            ) from None
        except OSError as error:
            raise RunError(f"run {run.path} cannot be made: {error.strerror}") from None
        return run

    @classmethod
    def open(cls, path: Path | str) -> RunDirectory:
        """Take an existing run's folder.

        Raises:
            RunError: There is no such folder, or it holds no run.
        """
        run = cls(Path(path))
        if not run.path.is_dir():
            siblings = [p.name for p in run.path.parent.glob("*") if p.is_dir()]
            near = near_miss(run.path.name, siblings)
            raise RunError(f"run {run.path}: no such folder{near}")
        if not run.config.is_file() and not run.trials.is_file():
            raise RunError(
                f"{run.path} is not a run directory: expected config.yaml in it, as `spnas search` writes it"
            )
        return run

    @contextmanager
    def hold(self) -> Iterator[None]:
        """Keep other searches off this run; the lock is freed however this process ends, by flock(2).

        Raises:
            RunError: Another process holds it, or nothing can be written there.
        """
        try:
            file = (self.path / ".lock").open("w")
        except OSError as error:
            raise RunError(f"run {self.path} cannot be written: {error.strerror}") from None
        with file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise RunError(f"run {self.path} is under way in another process") from None
            yield

    @property
    def name(self) -> str:
        """The run's name, that of its folder."""
        return self.path.resolve().name

    @property
    def config(self) -> Path:
        """Every option of the search, resolved."""
        return self.path / "config.yaml"

    @property
    def space(self) -> Path:
        """The search space as it was when the run began."""
        return self.path / "space.yaml"

    @property
    def data(self) -> Path:
        """The data.yaml with its paths made absolute; absent where the data are a folder or the embedded set."""
        return self.path / "data.yaml"

    @property
    def environment(self) -> Path:
        """Machine, device, versions and git revision."""
        return self.path / "environment.json"

    @property
    def study(self) -> Path:
        """The Optuna study in SQLite: the only truth, from which the tables are derived."""
        return self.path / "study.db"

    @property
    def trials(self) -> Path:
        """Every ended trial, one a row."""
        return self.path / "trials.csv"

    @property
    def confirmed(self) -> Path:
        """Every re-evaluation of a trial, one a row; absent where there was none."""
        return self.path / "confirmed.csv"

    @property
    def rungs(self) -> Path:
        """What trials had at their rungs; absent where there are none."""
        return self.path / "rungs.csv"

    @property
    def costs(self) -> Path:
        """What each phase of the search cost; written when it ends."""
        return self.path / "costs.csv"

    @property
    def pareto_csv(self) -> Path:
        """The Pareto front, one model a row, sorted by latency."""
        return self.path / "pareto.csv"

    @property
    def pareto_dir(self) -> Path:
        """The Pareto front's models, one yaml each."""
        return self.path / "pareto"

    @property
    def trained_dir(self) -> Path:
        """Full trainings of the front's models, a folder each, named as the model's yaml."""
        return self.path / "trained"

    @property
    def plot(self) -> Path:
        """The picture of trials and front."""
        return self.path / "pareto.png"

    @property
    def report(self) -> Path:
        """The run in one page for a browser."""
        return self.path / "report.html"

    @property
    def analysis_dir(self) -> Path:
        """The tables that `spnas analyze` writes."""
        return self.path / "analysis"

    @property
    def logs_dir(self) -> Path:
        """What each trial said, a file each."""
        return self.path / "logs"

    def trial_log(self, trial: int, seed: int | None = None) -> Path:
        """Name the log of a trial, or with a seed's number that of its re-evaluation."""
        return self.logs_dir / (f"{trial:04d}.txt" if seed is None else f"{trial:04d}-{seed}.txt")

    @property
    def weights_dir(self) -> Path:
        """Weights, the trained base network's first of all."""
        return self.path / "weights"

    @property
    def base_checkpoint(self) -> Path:
        """Where the base network's training has got to; gone when it ends."""
        return self.base_weights.with_suffix(".checkpoint")

    @property
    def base_weights(self) -> Path:
        """The trained base network's tensors, which every trial starts from."""
        return self.weights_dir / "base.pt"

    @property
    def library(self) -> Path:
        """Operators prepared for the trials to start from; absent where they inherit in closed form."""
        return self.weights_dir / "library.pt"

    @property
    def latency_table(self) -> Path:
        """What each choice takes at each site; absent where it was not measured."""
        return self.path / "latency_table.json"

    @property
    def scores(self) -> Path:
        """How much each choice would hurt at each site; absent where that was not worked out."""
        return self.path / "scores.json"

    @property
    def log(self) -> Path:
        """What the search said."""
        return self.path / "log.txt"
