"""Latency of deployed networks, measured beside the base, their memory and their counted size."""

from spnas.latency.counts import Counts, count
from spnas.latency.isolation import DeviceLock, device_lock
from spnas.latency.memory import peak_memory_mb
from spnas.latency.meter import Estimate, Measurement, Protocol, measure
from spnas.latency.runtimes import check_runtime, default_runtime, register_runtime, runtime_names

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
    "peak_memory_mb",
    "register_runtime",
    "runtime_names",
]
