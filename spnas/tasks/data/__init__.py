"""Embedded default data sets, made from scikit-learn's handwritten digits: real pixels, no download."""

from spnas.tasks.data.store import embedded_classification, embedded_detection

__all__ = ["embedded_classification", "embedded_detection"]
