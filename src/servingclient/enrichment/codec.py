"""An entry as bytes for a cache that others can write to. Pure.

MessagePack of plain JSON types only. Reading makes nothing but these types: no extension types, no
hooks, nothing is unpickled; and what does not fit in every respect is no entry. The name the value
lies under stands inside, so that an answer meant for another question is noticed, whether a value
was moved or a connection mixed up. With a secret a keyed hash over all of it must fit first.
"""

from __future__ import annotations

import hmac
import math
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import msgpack
import orjson

from servingclient.enrichment.cache_control import is_etag
from servingclient.enrichment.entry import Entry

SCHEMA: Final = 1
"""Version of the layout; another one is a miss, so that old and new processes can share a cache."""

_MAC_BYTES: Final = 32
_FIELDS: Final = 14


class Stored(NamedTuple):
    """An entry with what it stands or falls with.

    Attributes:
        entry: The entry.
        epoch: What was known of invalidated prefixes when it was stored.
        tag_tokens: The tokens its tags had then, in their order.
    """

    entry: Entry
    epoch: bytes
    tag_tokens: tuple[bytes, ...]


class Codec:
    """Packs and unpacks.

    Args:
        secret: Key of the hash over each value; None does without.
        max_value_bytes: Largest value written or looked at.
    """

    __slots__ = ("_secret", "max_value_bytes")

    def __init__(self, secret: bytes | None, max_value_bytes: int) -> None:
        self._secret = secret
        self.max_value_bytes: int = max_value_bytes

    def pack(
        self,
        name: str,
        entry: Entry,
        epoch: bytes,
        tag_tokens: Sequence[bytes],
        age_s: float,
        wall_s: float,
    ) -> bytes | None:
        """The bytes of ``entry``; None where it would not come back the same, or is too large.

        Args:
            name: What it is stored under.
            entry: The entry; its instant is replaced.
            epoch: See :class:`Stored`.
            tag_tokens: See :class:`Stored`.
            age_s: Its age in seconds.
            wall_s: Seconds of the wall clock now.
        """
        row = [
            SCHEMA,
            name,
            epoch,
            list(tag_tokens),
            float(wall_s - age_s),
            float(entry.fresh_s),
            float(entry.revalidate_s),
            float(entry.on_error_s),
            float(entry.took_s),
            entry.size_bytes,
            entry.negative,
            entry.etag,
            list(entry.tags),
            entry.value,
        ]
        if entry.negative and entry.value is not None:
            return None
        try:
            orjson.dumps(entry.value)  # refuses bytes, and keys that are no text
            # strict: a tuple would come back as a list, a float of numpy as a plain one
            data: bytes = msgpack.packb(row, strict_types=True)
        except (TypeError, ValueError, OverflowError, RecursionError):
            return None
        if self._secret is not None:
            data = self._mac(data) + data
        return data if len(data) <= self.max_value_bytes else None

    def unpack(self, data: bytes, name: str, now_s: float, wall_s: float) -> Stored | None:
        """The entry in ``data``, or None when anything about it is wrong.

        Args:
            data: What the cache holds under ``name``.
            name: What was asked for.
            now_s: Instant of the monotonic clock now.
            wall_s: Seconds of the wall clock now.
        """
        if len(data) > self.max_value_bytes:
            return None
        if self._secret is not None:
            mac, data = data[:_MAC_BYTES], data[_MAC_BYTES:]
            if not hmac.compare_digest(mac, self._mac(data)):
                return None
        try:
            row = msgpack.unpackb(
                data, raw=False, strict_map_key=False, max_ext_len=0, ext_hook=_refused
            )
        except (ValueError, TypeError, msgpack.UnpackException, RecursionError):
            return None
        return _stored(row, name, now_s, wall_s)

    def _mac(self, data: bytes) -> bytes:
        return hmac.digest(self._secret or b"", data, "sha256")


def _refused(*_: object) -> Any:
    raise ValueError("an extension type")


def _stored(row: Any, name: str, now_s: float, wall_s: float) -> Stored | None:
    """What ``row`` says, where every field is of its kind."""
    if type(row) is not list or len(row) != _FIELDS or row[0] != SCHEMA or row[1] != name:
        return None
    _, _, epoch, tokens, stamp_s, fresh_s, revalidate_s, on_error_s, took_s, *rest = row
    size_bytes, negative, etag, tags, value = rest
    # spelled out: with all() and a generator for each group this is half of reading a value
    good = (
        type(epoch) is bytes
        and type(stamp_s) is float
        and type(fresh_s) is float
        and type(revalidate_s) is float
        and type(on_error_s) is float
        and type(took_s) is float
        and 0.0 <= fresh_s < math.inf
        and 0.0 <= revalidate_s < math.inf
        and 0.0 <= on_error_s < math.inf
        and 0.0 <= took_s < math.inf
        and type(size_bytes) is int
        and size_bytes >= 0
        and type(negative) is bool
        and (etag is None or (type(etag) is str and is_etag(etag)))
        and (value is None if negative else _is_json(value))
        and ((tokens == [] and tags == []) or _fit(tokens, tags))
    )
    if not good:
        return None
    # a stamp that is no instant of the past, NaN included, counts as now
    age_s = wall_s - stamp_s if stamp_s < wall_s else 0.0
    entry = Entry(
        value=value,
        stored_s=now_s - age_s,
        fresh_s=fresh_s,
        revalidate_s=revalidate_s,
        on_error_s=on_error_s,
        took_s=took_s,
        size_bytes=size_bytes,
        negative=negative,
        etag=etag,
        tags=tuple(tags),
    )
    return Stored(entry, epoch, tuple(tokens))


def _is_json(value: Any) -> bool:
    """Whether an API could have answered it: MessagePack also has bytes, and keys of any kind."""
    try:
        orjson.dumps(value)
    except TypeError:
        return False
    return True


def _fit(tokens: Any, tags: Any) -> bool:
    return (
        type(tokens) is type(tags) is list
        and len(tokens) == len(tags)
        and all(type(token) is bytes for token in tokens)
        and all(type(tag) is str for tag in tags)
    )
