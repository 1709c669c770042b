"""Whether two machines have the same files of a data set under the same paths."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

from spnas.tasks.base import DataInfo
from spnas.tasks.detection_data import image_files, label_file


def fingerprint(info: DataInfo) -> str:
    """Give a short hash of the paths and sizes of a data set's images and labels; nothing is read.

    Raises:
        OSError: A file that the data set names is not there.
        DataError: A list of images cannot be read.
    """
    files = sorted((str(file), file.stat().st_size) for file in _files(info))
    return f"{len(files)} files, {hashlib.sha256(repr(files).encode()).hexdigest()[:8]}"


def _files(info: DataInfo) -> Iterator[Path]:
    sources = (*info.train, *info.val)
    if info.kind == "detect":
        for image in image_files(sources):
            yield image
            if label_file(image).is_file():
                yield label_file(image)
        return
    for source in sources:
        if not source.exists():
            raise FileNotFoundError(source)
        yield from (file for file in source.rglob("*") if file.is_file())
