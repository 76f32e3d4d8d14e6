"""A lock that a forked child finds open."""

from __future__ import annotations

import os
import threading
import weakref
from contextlib import AbstractContextManager
from typing import Any


def fork_lock() -> AbstractContextManager[object]:
    """A lock for ``with``. One that a thread of the parent held at the fork would never be released
    in the child, where that thread does not run.

    It is re-entrant: a signal handler may close the client in the midst of a call. And it is no
    class of ours: an interrupt between ``__enter__`` in Python and the body would leave it locked.
    """
    lock = threading.RLock()
    _locks.add(lock)
    return lock


_locks: weakref.WeakSet[Any] = weakref.WeakSet()


def _renew_all() -> None:
    for lock in list(_locks):
        lock._at_fork_reinit()  # noqa: SLF001 - what the standard library does with its own


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_all)
