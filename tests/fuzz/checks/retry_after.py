"""Retry-After (``policies/retry_after.py``): first line the header, second the reply's Date."""

from __future__ import annotations

from servingclient.policies.retry_after import LONGEST_S, NO_HINT, parse_retry_after

_CAPS_S = (0.0, 60.0, 1e12)


def check(data: bytes) -> None:
    for text in (data.decode("latin-1"), data.decode("utf-8", "replace")):
        _check(*text.partition("\n")[::2])


def _check(value: str, date: str) -> None:
    hints = [parse_retry_after(value, reply_date=date, cap_s=cap_s) for cap_s in _CAPS_S]
    for hint, cap_s in zip(hints, _CAPS_S, strict=True):
        if hint != NO_HINT:
            assert value.isascii()
            assert hint.wait_s is not None
            assert 0.0 < hint.wait_s <= LONGEST_S
            assert hint.refuse == (hint.wait_s > cap_s)
    assert len({hint.wait_s for hint in hints}) == 1, "the cap decides over refusal alone"
    if all("0" <= char <= "9" for char in value) and value.strip("0"):
        assert hints[0].wait_s == min(float(value), LONGEST_S)
