"""The rows of the chaos matrix in words, for the table that ``make chaos`` prints."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Row:
    """One row.

    Attributes:
        fault: What goes wrong.
        seconds: For how long, in the long form; 0 where it happens once.
        expected: What must hold.
    """

    fault: str
    seconds: float
    expected: str


ROWS = {
    1: Row("503 to all", 60, "amp <= 1.10; failures p99 <= 0.3 s without quota; recover <= 2 s"),
    2: Row("503 to 10 %", 60, "success >= 99.5 %; amp <= 1.15"),
    3: Row("503 to 50 %", 60, "amp <= 1.25; success >= 55 %"),
    4: Row("429, Retry-After 2", 30, "no send within 2 s; 100 ms bins <= 3x mean"),
    5: Row("429, Retry-After 3600", 30, "fails <= 50 ms after the reply, with the hint"),
    6: Row("refused", 30, "success 0; tries within quota; recover <= 2 s; 0 stuck lanes"),
    7: Row("SYNs dropped", 30, "calls <= 5.25 s; in flight bounded; recover <= 6 s"),
    8: Row("accepted, never answered", 30, "<= 5.25 s each; 1 POST a call; recover <= 6 s"),
    9: Row("half-open idle lanes", 0, "slow calls <= lanes, each <= deadline; then clean"),
    10: Row("RST in 5 % of bodies", 60, "success >= 99.5 %; processed <= 2, unsafe <= 1"),
    11: Row("FIN after each reply", 60, "0 user errors"),
    12: Row("idle-close 50 ms", 0, "0 user errors in 2,000 calls"),
    13: Row("drips on 10 % of connections", 60, "<= deadline + 0.25 s; others' p99 <= +10 %"),
    14: Row("latency 0 to 2 s", 60, "no retries; calls at once <= cap; typed rejects"),
    15: Row("bandwidth 10 KB/s", 30, "deadline kept; a 5 MB body ends at it"),
    16: Row("1-byte slices", 30, "results identical; CPU <= 2x"),
    17: Row("capacity 62 to 25 rps", 10, "recover <= 1.2x no-retry + 5 s"),
    18: Row("autoscaling with 429", 120, "goodput >= 0.85; amp <= 1.30; recover <= 15 s"),
    19: Row("token endpoint ill", 120, "0 errors while the token lives; heals <= 2 s"),
    20: Row("token revoked", 0, "1 refresh; <= 128 POSTs; 0 errors"),
    21: Row("certificate expires", 30, "open lanes serve; new: TLSError, 0 retries"),
    22: Row("Redis ill", 60, "success 100 %; p99 <= +60 ms, then <= +2 ms"),
    23: Row("enrichment 500", 60, "breaker <= 20 calls or 2 s; <= 3 probes in 10 s"),
    24: Row("server stopped by a signal", 10, "as 8; unsafe calls run once"),
    25: Row("SIGTERM to the client", 0, "exit in time; all resolved; 0 rows twice"),
    26: Row("event loop stalls 2 s", 0, "errors only past the deadline; 1 refresh"),
    27: Row("64 threads, one client", 60, "0 wrong of 20,000; no deadlock"),
    28: Row("everything at random", 300, "one outcome a call; ids match; no leak"),
}
