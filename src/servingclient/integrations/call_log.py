"""Calls in the log, for those who look for one call in the lines around it.

::

    client = ServingClient("fraud-model", observers=[CallLog(slow_s=0.5)])

Lines are ``event key=value ...``; none holds an input, a reply or a secret.
"""

from __future__ import annotations

import logging
import math

from servingclient._watching import AttemptEnded, CallEnded

_log = logging.getLogger("servingclient.call")


class CallLog:
    """Writes to the logger ``servingclient.call``; an observer.

    Failed calls and slow ones are warnings, failed attempts information, all others debugging.

    Args:
        slow_s: Seconds from which on an answered call is slow; None for never.
    """

    def __init__(self, slow_s: float | None = None) -> None:
        self._slow_s = math.inf if slow_s is None else slow_s

    def call_ended(self, event: CallEnded) -> None:
        """See ``_watching.Observer``."""
        if event.error is not None:
            level, name = logging.WARNING, "call_failed"
        elif event.duration_s >= self._slow_s:
            level, name = logging.WARNING, "call_slow"
        else:
            level, name = logging.DEBUG, "call_answered"
        if _log.isEnabledFor(level):
            _log.log(
                level,
                "%s endpoint=%s status=%s error=%s attempts=%d duration_s=%.6f queue_s=%.6f "
                "request_bytes=%d reply_bytes=%d",
                name,
                event.endpoint,
                event.status,
                event.error,
                event.attempts,
                event.duration_s,
                event.queue_s,
                event.request_bytes,
                event.reply_bytes,
            )

    def attempt_failed(self, event: AttemptEnded) -> None:
        """See ``_watching.Observer``."""
        attempt = event.attempt
        _log.info(
            "attempt_failed endpoint=%s status=%s cause=%r wait_s=%.3f duration_s=%.6f "
            "request_id=%s",
            event.endpoint,
            attempt.status,
            attempt.cause,
            attempt.wait_s,
            attempt.duration_s,
            attempt.request_id,
        )
