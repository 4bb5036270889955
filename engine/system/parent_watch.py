"""Ends a child process when its parent has died; a killed parent sends no signal."""

from __future__ import annotations

import _thread
import contextlib
import ctypes
import os
import signal
import threading
import time

from engine.system.console import lead_nowhere

_LIMIT_S = 10.0


def end_with_stdin(limit_s: float = _LIMIT_S) -> None:
    """End this process when its stdin, a pipe held open by the parent, is closed.

    It ends as with Ctrl-C, so that temporary files are removed.

    Args:
        limit_s: seconds until a process that does not react (a compiler at work) is ended by `os._exit`.
    """
    # The pipe moves to another descriptor and stdin becomes os.devnull, so that no package reads from the pipe.
    pipe = os.dup(0)
    lead_nowhere(0)
    threading.Thread(target=_watch, args=(pipe, limit_s), name="parent watch", daemon=True).start()


def _watch(pipe: int, limit_s: float) -> None:
    with contextlib.suppress(OSError):  # a broken pipe counts as closed
        while os.read(pipe, 4096):
            pass
    _interrupt_main()
    time.sleep(limit_s)
    os._exit(1)


def _interrupt_main() -> None:
    """KeyboardInterrupt in the main thread, also where SIGINT is ignored: nohup and scripts' background jobs do that,
    and their children inherit it."""
    if callable(signal.getsignal(signal.SIGINT)):
        _thread.interrupt_main()
        return
    main = threading.main_thread().ident
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(main or 0), ctypes.py_object(KeyboardInterrupt))
