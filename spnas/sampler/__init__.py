"""An Optuna sampler for studies in which latency is known before a trial and accuracy is not."""

from spnas.sampler.categories import Categories, Codes, Floats
from spnas.sampler.latency_aware import LatencyAwareSampler

__all__ = ["Categories", "Codes", "Floats", "LatencyAwareSampler"]
