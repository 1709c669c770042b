"""Latency of deployed networks, measured beside the base, their memory and their counted size."""

from spnas.latency.counts import Counts, count
from spnas.latency.estimate import Estimate
from spnas.latency.forms import choose_forms, deploy
from spnas.latency.isolation import DeviceLock, device_lock
from spnas.latency.known_base import KnownBase
from spnas.latency.layers import LayerTimer, LayerTimes
from spnas.latency.memory import peak_memory_mb
from spnas.latency.meter import Measurement, measure
from spnas.latency.runtimes import check_runtime, default_runtime, register_runtime, runtime_names
from spnas.latency.sampling import Protocol
from spnas.latency.table import LatencyTable, build_table

__all__ = [
    "Counts",
    "DeviceLock",
    "Estimate",
    "KnownBase",
    "LatencyTable",
    "LayerTimer",
    "LayerTimes",
    "Measurement",
    "Protocol",
    "build_table",
    "check_runtime",
    "choose_forms",
    "count",
    "default_runtime",
    "deploy",
    "device_lock",
    "measure",
    "peak_memory_mb",
    "register_runtime",
    "runtime_names",
]
