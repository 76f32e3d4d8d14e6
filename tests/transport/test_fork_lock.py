"""A lock held at the moment of a fork."""

from __future__ import annotations

import os

import pytest

from servingclient.transport.fork_lock import fork_lock


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_T4_a_lock_held_at_the_fork_is_open_in_the_child() -> None:
    lock = fork_lock()
    with lock:
        pid = os.fork()
        if pid == 0:
            with lock:
                os._exit(0)
        _, status = os.waitpid(pid, 0)
    assert os.waitstatus_to_exitcode(status) == 0


def test_who_holds_it_may_take_it_again() -> None:
    # a signal handler runs in the midst of whatever the main thread does
    lock = fork_lock()
    with lock, lock:
        pass
