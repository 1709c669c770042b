"""Proxy training: a lean loop on any task."""

from spnas.training.batchnorm import reestimate_batchnorm
from spnas.training.checkpoint import Checkpoint
from spnas.training.library import PASSES, Library, build_library, fit_operators
from spnas.training.loop import SharedLock, TrainingResult, score_model, train
from spnas.training.memory import train_within_memory
from spnas.training.schedule import Schedule, base_schedule, doubling_rungs, proxy_schedule
from spnas.training.sensitivity import Scores, choice_scores
from spnas.training.step_time import step_seconds

__all__ = [
    "PASSES",
    "Checkpoint",
    "Library",
    "Schedule",
    "Scores",
    "SharedLock",
    "TrainingResult",
    "base_schedule",
    "build_library",
    "choice_scores",
    "doubling_rungs",
    "fit_operators",
    "proxy_schedule",
    "reestimate_batchnorm",
    "score_model",
    "step_seconds",
    "train",
    "train_within_memory",
]
