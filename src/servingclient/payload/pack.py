"""A finished body in another form: MessagePack for a gateway of one's own, gzip where it is taken.

Both start from the JSON: what may be sent, and as what, is decided there and only there. So a value
has the same type in either format, and a missing one follows the same setting.
"""

from __future__ import annotations

import gzip as _gzip
from typing import Final, NamedTuple

import msgpack
import orjson

from servingclient._types import Form
from servingclient.settings import Payload

MSGPACK: Final = "application/msgpack"
_OTHER_MSGPACK: Final = frozenset({MSGPACK, "application/x-msgpack", "application/vnd.msgpack"})


class Packed(NamedTuple):
    """Bytes as they go over the wire, and what the header lines say of them."""

    data: bytes
    form: Form


def pack(data: bytes, settings: Payload, *, gzip: bool) -> Packed:
    """Put a body into the form of the settings.

    Args:
        data: JSON text.
        settings: ``codec``, and how hard to compress.
        gzip: Whether to compress.

    Returns:
        The bytes with their form.
    """
    content_type = "application/json"
    if settings.codec == "msgpack":
        content_type = MSGPACK
        packed: bytes = msgpack.packb(orjson.loads(data))
        data = packed
    if gzip:
        data = _gzip.compress(data, settings.gzip_level, mtime=0)
    return Packed(data, Form(content_type, "gzip" if gzip else None))


def is_msgpack(content_type: str | None) -> bool:
    """Whether a reply says that it is MessagePack."""
    kind = (content_type or "").partition(";")[0].strip().lower()
    return kind in _OTHER_MSGPACK


def unpack(data: bytes) -> object:
    """A MessagePack value that JSON could hold as well.

    Args:
        data: Exactly one value.

    Returns:
        The value, as the standard JSON types.

    Raises:
        ValueError: It is no such value: cut off, followed by more, nested too deeply, or holding
            bytes, extension types or keys that are no text.
    """
    try:
        value: object = msgpack.unpackb(data, strict_map_key=True)
        orjson.dumps(value)  # refuses what JSON has no form for: extension types, bytes as values
    except (msgpack.UnpackException, ValueError, TypeError, OverflowError, RecursionError) as error:
        raise ValueError(_reason(error)) from None
    return value


def _reason(error: Exception) -> str:
    """What is wrong, without any of the data."""
    words = str(error)
    if isinstance(error, msgpack.ExtraData):
        return "more follows the value"
    if "incomplete" in words:
        return "it is cut off"
    if "ecursion" in words or isinstance(error, msgpack.StackError):
        return "it is nested too deeply"
    if isinstance(error, TypeError) or "map key" in words:
        return "it holds bytes, an extension type or a key that is no text, which JSON has not"
    return type(error).__name__
