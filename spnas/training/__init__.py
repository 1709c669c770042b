"""Proxy training: a lean loop on any task."""

from spnas.training.batchnorm import reestimate_batchnorm
from spnas.training.loop import SharedLock, TrainingResult, score_model, train
from spnas.training.schedule import Schedule, base_schedule, proxy_schedule

__all__ = [
    "Schedule",
    "SharedLock",
    "TrainingResult",
    "base_schedule",
    "proxy_schedule",
    "reestimate_batchnorm",
    "score_model",
    "train",
]
