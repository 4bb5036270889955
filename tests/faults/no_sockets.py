"""A trap for child processes that use the network."""

from __future__ import annotations

from pathlib import Path

NO_SOCKETS = """
import os, socket
def refuse(*arguments, **options):
    with open(os.environ.get("SOCKETS_LOG", os.devnull), "a") as log:
        log.write(f"{os.getpid()} {arguments[1:] if arguments else options}\\n")
    raise OSError("a socket was opened")
socket.socket.connect = socket.socket.connect_ex = refuse
socket.getaddrinfo = socket.gethostbyname = socket.create_connection = refuse
"""


def no_sockets(folder: Path) -> Path:
    """A folder for PYTHONPATH: Python processes started with it, and their children, cannot open connections."""
    place = folder / "site"
    place.mkdir(exist_ok=True)
    (place / "sitecustomize.py").write_text(NO_SOCKETS)
    return place
