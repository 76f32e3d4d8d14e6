"""A lock held at the moment of a fork."""

from __future__ import annotations

import os

import pytest

from servingclient.transport.fork_lock import ForkLock


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_T4_a_lock_held_at_the_fork_is_open_in_the_child() -> None:
    lock = ForkLock()
    with lock:
        pid = os.fork()
        if pid == 0:
            with lock:
                os._exit(0)
        _, status = os.waitpid(pid, 0)
    assert os.waitstatus_to_exitcode(status) == 0
    with lock:  # and the parent's is its own
        assert lock._lock.locked()
    assert not lock._lock.locked()
