"""Something that happens once, and threads wait for it."""

from __future__ import annotations

import threading


class Once:
    """What ``threading.Event`` is, of one lock of C and without going back.

    An event enters its lock in Python. An interrupt in that moment leaves it locked, and all who
    wait hang without a time-out, as would whoever sets it; and a signal handler that sets it may
    be the very thread that holds it. Here a lock stays taken until it has happened, and each who
    comes through opens it for the next.

    Attributes:
        done: It has happened.
    """

    __slots__ = ("_barrier", "done")

    def __init__(self) -> None:
        self.done: bool = False
        self._barrier = threading.Lock()
        self._barrier.acquire()

    def set(self) -> None:
        """It happens. Once more does no harm."""
        self.done = True
        try:
            self._barrier.release()
        except RuntimeError:  # it is open
            pass

    def wait(self, timeout_s: float) -> bool:
        """Wait for it.

        Returns:
            Whether it has happened.
        """
        timeout_s = min(max(0.0, timeout_s), threading.TIMEOUT_MAX)
        try:
            if not self.done:
                self._barrier.acquire(timeout=timeout_s)
        finally:
            if self.done:
                try:  # no call of ours: an interrupt at its beginning would leave it shut
                    self._barrier.release()
                except RuntimeError:
                    pass
        return self.done
