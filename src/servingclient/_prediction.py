"""What ``predict`` returns: the model's values, and on request everything known about the call.

It is made on every call, so it only stores what the call has at hand (0.3 us); the rest is worked
out when someone asks.
"""

from __future__ import annotations

import html
import reprlib
from typing import Any, ClassVar

from servingclient._types import Attempt, RawHeaders, Timing
from servingclient.payload.tabular import array_of, frame_of

_ID_HEADERS = (
    b"x-databricks-request-id",
    b"databricks-request-id",
    b"x-request-id",
    b"request-id",
)
"""Third-party code reads these; which one the service sends is not documented."""


def header(headers: RawHeaders, name: bytes) -> str | None:
    """The first value of header ``name`` (lower case); None if absent or empty."""
    for key, value in headers:
        if key.lower() == name and value:
            return value.decode("latin-1")
    return None


def request_id(headers: RawHeaders) -> str | None:
    """The id the service gave a request, to look it up in its inference and usage tables.

    Args:
        headers: The reply's header lines.

    Returns:
        The id, or None when the reply has none.
    """
    for name in _ID_HEADERS:
        found = header(headers, name)
        if found is not None:
            return found
    return None


_TOTAL = 7
"""Position of ``total_s`` among the fields of ``Timing``."""


class Prediction:
    """The result of one call. Read only; pickles, so it may travel between processes.

    Args:
        predictions: What the model returned, as JSON types.
        headers: Header lines of the last reply.
        attempts: Every try, the first included.
        timing: The fields of :class:`~servingclient._types.Timing`, in order, in seconds.
        status: HTTP status of the last reply.
    """

    __slots__ = (
        "_attempts",
        "_enrichment_error",  # set only where there is one: most calls have none to tell of
        "_headers",
        "_predictions",
        "_status",
        "_timing",
    )

    _enrichment_error: str

    def __init__(
        self,
        predictions: Any,
        headers: RawHeaders,
        attempts: tuple[Attempt, ...] = (),
        timing: tuple[float, ...] = (0.0,) * 8,
        status: int = 200,
    ) -> None:
        self._predictions = predictions
        self._headers = headers
        self._attempts = attempts
        self._timing = timing
        self._status = status

    @property
    def predictions(self) -> Any:
        """What the model returned: a list, a list of dicts, a dict or a scalar. Where the client
        has a ``postprocess``, what that made of it.
        """
        return self._predictions

    @property
    def status(self) -> int:
        """HTTP status of the reply."""
        return self._status

    @property
    def request_id(self) -> str | None:
        """Id the service gave the request, if it gave one."""
        return request_id(self._headers)

    @property
    def served_model(self) -> str | None:
        """Name of the served model that answered, if the service says so."""
        return header(self._headers, b"served-model-name")

    @property
    def attempts(self) -> tuple[Attempt, ...]:
        """Every try of the call, in order, with status, wait and cause.

        A try that was hedged is one, whichever of its two requests was answered first: its status
        and id are of that reply, its time runs from the first.
        """
        tries = self._attempts
        if tries and tries[-1].request_id is None:
            return (*tries[:-1], tries[-1]._replace(request_id=self.request_id))
        return tries

    @property
    def enrichment_error(self) -> str | None:
        """Why the rows were scored without ``enrich``: what it raised. None where all went well."""
        return getattr(self, "_enrichment_error", None)

    @property
    def timing(self) -> Timing:
        """Where the seconds of the call went."""
        return Timing(*self._timing)

    def to_pandas(self) -> Any:
        """The predictions as a ``pandas.DataFrame``; needs pandas.

        ======================================  ==============================================
        predictions                             frame
        ======================================  ==============================================
        list of dicts                           one column per key
        list of dicts with the one key ``"0"``  one column ``prediction`` (a model that returns
                                                a Series arrives so)
        list of scalars, or one scalar          one column ``prediction``
        list of lists of one length             columns ``0``, ``1``, ...
        dict of lists of one length             one column per key
        dict of scalars                         one row, one column per key
        ======================================  ==============================================

        What a ``postprocess`` made counts likewise: a DataFrame is returned as it is, a Series or
        array is taken for the list it stands for.

        Returns:
            A frame with a fresh index, in the order of the rows that were sent.

        Raises:
            ValueError: The predictions have none of these shapes.
        """
        return frame_of(self._predictions)

    def to_numpy(self) -> Any:
        """The predictions as a ``numpy.ndarray``; needs numpy.

        Lists become arrays of as many dimensions as they are deep, a scalar an array of shape
        ``()``. Where numbers stand beside ``None`` or text the dtype is object, so that nothing is
        changed. A list of dicts with the one key ``"0"`` counts as a list of scalars.
        What a ``postprocess`` made is taken as it is where it is an array, or can become one.

        Returns:
            An array whose first axis is the rows.

        Raises:
            ValueError: The predictions are dicts, or lists of different lengths.
        """
        return array_of(self._predictions)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Prediction):
            return NotImplemented
        mine, others = self._parts(), other._parts()
        return mine[1:] == others[1:] and _same(mine[0], others[0])

    __hash__: ClassVar[None] = None  # type: ignore[assignment] # predictions are lists and dicts

    def __reduce__(self) -> tuple[Any, ...]:
        return _restored, self._parts()

    def _parts(self) -> tuple[Any, ...]:
        own = self._predictions, self._headers, self._attempts, self._timing, self._status
        return *own, self.enrichment_error

    def __repr__(self) -> str:
        facts = "".join(f", {name}={value}" for name, value in self._facts())
        return f"Prediction({_brief(self._predictions)}{facts})"

    def _repr_html_(self) -> str:
        rows = [("predictions", _brief(self._predictions)), *self._facts()]
        cells = "".join(
            f"<tr><th style='text-align:left'>{html.escape(name)}</th>"
            f"<td style='text-align:left'>{html.escape(value)}</td></tr>"
            for name, value in rows
        )
        return f"<table><caption>Prediction</caption>{cells}</table>"

    def _facts(self) -> list[tuple[str, str]]:
        facts = []
        if isinstance(self._predictions, list):
            facts.append(("rows", f"{len(self._predictions):,}"))
        for name, value in (("served_model", self.served_model), ("request_id", self.request_id)):
            if value is not None:
                facts.append((name, repr(value[:80])))
        if self.enrichment_error is not None:
            kind, _, _ = self.enrichment_error.partition(":")  # the words may hold an input
            facts.append(("enrichment_error", kind))
        facts.append(("attempts", str(len(self._attempts))))
        facts.append(("total_s", f"{self._timing[_TOTAL]:.4f}"))
        return facts


def staged(
    prediction: Prediction,
    values: Any,
    total_s: float,
    stages_s: tuple[float, float, float],
    enrichment_error: str | None,
) -> Prediction:
    """A prediction as its caller gets it, where functions of the caller ran around it.

    Args:
        prediction: Of the call in between.
        values: What stands in place of its values.
        total_s: Seconds of the whole.
        stages_s: Seconds of ``preprocess``, ``enrich`` and ``postprocess``.
        enrichment_error: What ``enrich`` raised, if the call went on without it.
    """
    _, headers, attempts, timing, status, _ = prediction._parts()  # noqa: SLF001 - of this module
    timing = (*timing[:_TOTAL], total_s, *stages_s)
    return _restored(values, headers, attempts, timing, status, enrichment_error)


def _same(one: Any, other: Any) -> bool:
    """Whether two values are equal. A ``postprocess`` may make arrays or frames, which compare
    value by value and have no truth: of these only the very same is equal.
    """
    if one is other:
        return True
    try:
        return bool(one == other)
    except Exception:  # noqa: BLE001 - ValueError of numpy and pandas; others raise as they like
        return False


def _restored(
    predictions: Any,
    headers: RawHeaders,
    attempts: tuple[Attempt, ...],
    timing: tuple[float, ...],
    status: int,
    enrichment_error: str | None,
) -> Prediction:
    made = Prediction(predictions, headers, attempts, timing, status)
    if enrichment_error is not None:
        made._enrichment_error = enrichment_error  # noqa: SLF001 - of this module
    return made


_short = reprlib.Repr()
_short.maxlist = _short.maxdict = 4
_short.maxstring = _short.maxother = 40
_short.maxlevel = 3


def _brief(value: Any) -> str:
    text = _short.repr(value)
    return text if len(text) <= 200 else f"{text[:197]}..."
