"""Files that are either the old ones or the new ones, never half of each; and where files go that can be made again."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

if TYPE_CHECKING:
    import pandas as pd


@contextmanager
def atomic_file(path: Path) -> Iterator[BinaryIO]:
    """Open a file for writing that takes the place of `path` when the block ends without an error.

    The bytes are on the disk before the name changes, so that a crash leaves the old content or the new, and an error
    in the block leaves the old.

    Args:
        path: The file to write; its folder must exist.
    """
    # Not tempfile: its files can be read by their owner only, whatever the umask says.
    temporary = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
    try:
        with temporary.open("xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def cache_directory() -> Path:
    """Name the user's folder for what can be made again: `$XDG_CACHE_HOME/spnas`, else `~/.cache/spnas`."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "spnas"


def write_text_atomic(path: Path, text: str) -> None:
    """Write UTF-8 text; the file has the old content or the new at any moment."""
    with atomic_file(path) as file:
        file.write(text.encode("utf-8"))


def write_csv(path: Path, table: pd.DataFrame) -> None:
    """Write a table as CSV, atomically; what is not known becomes an empty cell."""
    write_text_atomic(path, table.to_csv(index=False, lineterminator="\n"))
