"""What users are given and never make: how it is made is the library's own business."""

from __future__ import annotations

GIVEN = frozenset(
    f"servingclient.{name}"
    for name in (
        *("AsyncLoader", "AsyncMapResult", "AsyncStream", "Attempt", "AttemptEnded", "Block"),
        *("BatchingStats", "CallEnded", "ConcurrencyStats", "EndpointFigures", "Enriched"),
        *("EnrichmentStats", "Explanation", "HedgingStats", "LaneStats", "Loader", "MapResult"),
        *("Prediction", "Stats", "Stream", "Timing", "TokenStats", "Traffic"),
        *("payload.report.Step", "telemetry.snapshot.Point"),
        *("telemetry.endpoint_metrics.Distribution",),
        *("capacity.ClosedLoop", "capacity.Plan", "capacity.Simulated", "capacity.Waits"),
        *("capacity.result.BatchEffect", "capacity.result.Needed", "capacity.sizing.Candidate"),
        *(
            "capacity.service.Service",
            "capacity.workload.Workload",
            "capacity.sizes.Range",
            "capacity.plot.Curve",
        ),
        *("capacity.advice.ClientSide", "capacity.advice.Figure", "capacity.advice.Limit"),
        *("capacity.doctor.Check", "capacity.doctor.Diagnosis", "capacity.doctor.Split"),
        *("emulator.ExternalApi", "emulator.Fault", "emulator.RequestRecord"),
        *("loadtest.Knee", "loadtest.LoadTest", "loadtest.Point", "loadtest.Quantiles"),
        *("testing.MadeCall", "testing.SentRequest", "testing.script.Answer"),
        *("testing.script.Events", "testing.script.NoAnswer", "testing.script.Raised"),
        *("loadtest.State", "loadtest.Trial", "loadtest.Trust", "loadtest.series.Second"),
    )
)
