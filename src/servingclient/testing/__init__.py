"""For the tests of code that uses this library: fakes, record and replay, faults by name.

The emulator, with real sockets, is :mod:`servingclient.emulator`.
"""

from servingclient.testing.calls import MadeCall
from servingclient.testing.clock import VirtualClock
from servingclient.testing.endpoint import ScriptEndedError, SentRequest
from servingclient.testing.fake import AsyncFakeServingClient, FakeServingClient
from servingclient.testing.presets import Preset
from servingclient.testing.record import AsyncRecordingTransport, RecordingTransport
from servingclient.testing.replay import AsyncReplayTransport, ReplayTransport
from servingclient.testing.script import (
    events,
    failure,
    lost,
    raises,
    reply,
    silence,
    throttled,
    token_refused,
    unreachable,
)

__all__ = [
    "AsyncFakeServingClient",
    "AsyncRecordingTransport",
    "AsyncReplayTransport",
    "FakeServingClient",
    "MadeCall",
    "Preset",
    "RecordingTransport",
    "ReplayTransport",
    "ScriptEndedError",
    "SentRequest",
    "VirtualClock",
    "events",
    "failure",
    "lost",
    "raises",
    "reply",
    "silence",
    "throttled",
    "token_refused",
    "unreachable",
]
