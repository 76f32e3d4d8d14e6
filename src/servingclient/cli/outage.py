"""The step of the demo in which an external API goes from bad to worse, and predictions go on."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from typing import Any, Final

from servingclient._prediction import Prediction
from servingclient.cli.lab import STANDARD, Lab, Report
from servingclient.cli.wines import Wine
from servingclient.emulator import ExternalApi
from servingclient.enrichment.client import EnrichmentClient
from servingclient.settings import EnrichmentSettings

_LATENCY_S: Final = 0.03
_GROWERS: Final = 30
_LIMIT_CALLS: Final = 20
_WINDOW_S: Final = 1.0
_PATIENCE_S: Final = 0.1  # for a new value where an old one will do
_OUTAGE_CALLS: Final = 40
_KEPT_S: Final = 60.0
_AT_ONCE_S: Final = 0.001  # past its time when it is asked for next


class _Growers:
    """Looks up the grower of each wine. A wine's grower is its number here, from ``first`` on.

    Args:
        api: Where.
    """

    def __init__(self, api: EnrichmentClient) -> None:
        self._api = api
        self.first = 1
        self.ttl = _KEPT_S
        self.timeout: float | None = None

    def enrich(self, wines: Sequence[Wine]) -> list[Wine]:
        """The wines with their growers' scores."""
        ids = [self.first + n % _GROWERS for n in range(len(wines))]
        found = self._api.get_many("/users/{id}", ids, ttl=self.ttl, timeout=self.timeout)
        return [
            {**wine, "grower": found[one].value["score"]}
            for wine, one in zip(wines, ids, strict=True)
        ]


def without_growers(wines: Sequence[Wine], _error: Exception) -> list[dict[str, Any]]:
    """What is scored where nothing is known of a grower."""
    return [{**wine, "grower": None} for wine in wines]


def external_api(lab: Lab, report: Report) -> None:
    """Growers come from an API that is slow, then limited, then down."""
    api = lab.emulator.external
    with _client(lab) as client:
        growers = _Growers(client)
        options = {"enrich": growers.enrich, "on_enrichment_error": without_growers}
        with lab.sync(STANDARD, **options, apis=[client]) as scoring:
            try:
                predictions = [
                    *_slow(lab, api, scoring, report),
                    *_limited(lab, api, scoring, report),
                    *_down(lab, api, growers, scoring, report),
                ]
            finally:
                api.change(latency_s=0.0, limit_calls=None)
                api.come_back()
            (figures,) = scoring.stats().enrichment
    expected = lab.model(lab.wines)
    right = sum(prediction.predictions == expected for prediction in predictions)
    report.fact("predictions", f"{right} of {len(predictions)} calls as the model's own")
    report.expect("every call is predicted", right == len(predictions))
    report.fact(
        "figures",
        f"{figures.calls} growers asked for, {figures.requests} requests; {figures.hits} kept, "
        f"{figures.stale} past their time, {figures.refused} not asked; breaker {figures.breaker}",
    )
    report.expect("the breaker is open", figures.breaker == "open")


def _client(lab: Lab) -> EnrichmentClient:
    settings = EnrichmentSettings(tls=lab.settings.tls, allow_private_hosts=True)
    return EnrichmentClient(lab.emulator.external.base_url, ttl=_KEPT_S, settings=settings)


def _slow(lab: Lab, api: ExternalApi, scoring: Any, report: Report) -> list[Prediction]:
    api.change(latency_s=_LATENCY_S)
    first, second = (scoring.predict(lab.wines) for _ in range(2))
    api.change(latency_s=0.0)
    report.fact(
        "slow",
        f"{_GROWERS} growers of {len(lab.wines)} wines, {1000 * _LATENCY_S:.0f} ms each: "
        f"{_enrich_ms([first])} at first, {_enrich_ms([second])} when they are known",
    )
    asked = sum(api.counts.values())
    report.expect("each grower is asked for once, for both calls", asked == _GROWERS)
    return [first, second]


def _limited(lab: Lab, api: ExternalApi, scoring: Any, report: Report) -> list[Prediction]:
    api.change(limit_calls=_LIMIT_CALLS, limit_window_s=_WINDOW_S, limit_headers="ietf")
    with _client(lab) as client:  # one that knows no grower yet
        prediction = scoring.with_options(enrich=_Growers(client).enrich).predict(lab.wines)
    api.change(limit_calls=None)
    refused = sum(record.status == 429 for record in api.requests)
    report.fact(
        "limited",
        f"{_LIMIT_CALLS} requests a second, {_GROWERS} needed: {_enrich_ms([prediction])}, "
        f"{refused} x 429",
    )
    report.expect("all growers are known in the end", prediction.enrichment_error is None)
    return [prediction]


def _down(
    lab: Lab, api: ExternalApi, growers: _Growers, scoring: Any, report: Report
) -> list[Prediction]:
    growers.first += _GROWERS
    growers.ttl = _AT_ONCE_S
    warm = scoring.predict(lab.wines)
    time.sleep(3 * _AT_ONCE_S)  # noqa: TID251 - what is kept gets old
    growers.timeout = _PATIENCE_S
    before = len(api.requests)
    api.go_down()
    known = [scoring.predict(lab.wines) for _ in range(_OUTAGE_CALLS)]
    asked = len(api.requests) - before
    growers.first += _GROWERS
    unknown = scoring.predict(lab.wines)
    lacking = sum(prediction.enrichment_error is not None for prediction in known)
    report.fact(
        "down",
        f"{_OUTAGE_CALLS} calls with what was known before, {_enrich_ms(known)}; the API was asked "
        f"{asked} times",
    )
    report.expect("no call with known growers lacks them", lacking == 0)
    report.expect("the API is left alone", asked < _OUTAGE_CALLS * _GROWERS / 2)
    report.fact("unknown", f"scored without: {unknown.enrichment_error}")
    report.expect("a grower nobody knows is left out", unknown.enrichment_error is not None)
    return [warm, *known, unknown]


def _enrich_ms(predictions: Iterable[Prediction]) -> str:
    spent = [1000 * prediction.timing.enrich_s for prediction in predictions]
    return f"{max(spent):.1f} ms" if len(spent) == 1 else f"at most {max(spent):.1f} ms"
