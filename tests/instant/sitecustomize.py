"""Notes, in the file that `SPNAS_SPY` names, whom Python processes with this folder in `PYTHONPATH` try to reach."""

from __future__ import annotations

import ipaddress
import os
import sys
from typing import Any


def _is_here(host: Any) -> bool:
    """Whether a host is this machine."""
    if host in (None, "", b"", "localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:  # a name
        return False


def _audit(event: str, args: tuple[Any, ...]) -> None:
    if event in ("socket.connect", "socket.sendto"):
        host = args[1][0] if isinstance(args[1], tuple) else None  # a file's name: a local socket
    elif event in ("socket.getaddrinfo", "socket.gethostbyname"):
        host = args[0]
    else:
        return
    if not _is_here(host):
        with open(os.environ["SPNAS_SPY"], "a") as file:
            file.write(f"{sys.argv[:2]} {event} {args[1:] if event[7] in 'cs' else args}\n")


if "SPNAS_SPY" in os.environ:
    sys.addaudithook(_audit)
