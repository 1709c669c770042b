"""Latency of deployed networks, measured beside the base, and their counted size."""

from spnas.latency.counts import Counts, count
from spnas.latency.estimate import Estimate
from spnas.latency.isolation import DeviceLock, device_lock
from spnas.latency.meter import Measurement, measure
from spnas.latency.runtimes import check_runtime, default_runtime, register_runtime, runtime_names
from spnas.latency.sampling import Protocol

__all__ = [
    "Counts",
    "DeviceLock",
    "Estimate",
    "Measurement",
    "Protocol",
    "check_runtime",
    "count",
    "default_runtime",
    "device_lock",
    "measure",
    "register_runtime",
    "runtime_names",
]
