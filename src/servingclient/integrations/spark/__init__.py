"""Bulk scoring on Spark: ``pip install 'servingclient[spark]'``, on the driver and the executors.

::

    scored = score(spark.table("claims"), "fraud-model", result_type="double")
    scored.write.saveAsTable("scored_claims")

One client for each Python worker keeps its connections and tokens from task to task; several
requests are under way in each, and all workers together keep to one budget. Nothing of pyspark is
imported before a function here is called.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from servingclient.integrations.spark import driver, frames
from servingclient.integrations.spark.progress import Progress
from servingclient.integrations.spark.scoring import Login, Scoring
from servingclient.integrations.spark.udf import Scorer
from servingclient.settings import Settings

if TYPE_CHECKING:
    from pyspark.sql import DataFrame
    from pyspark.sql.types import DataType

__all__ = ["Progress", "score", "score_udf"]


def score(
    df: DataFrame,
    endpoint: str,
    *,
    host: str | None = None,
    token: str | None = None,
    client_id: str | None = None,
    client_secret: str | None = None,
    settings: Settings | None = None,
    columns: Sequence[str] | None = None,
    keep: Sequence[str] | None = None,
    result_type: str | DataType | None = None,
    prediction_column: str = "prediction",
    error_column: str = "prediction_error",
    rows_per_request: int = 1000,
    concurrency: int | None = None,
    qps: float | None = None,
    workers: int | None = None,
    client_request_id: str | None = None,
    progress: Progress | None = None,
) -> DataFrame:
    """A frame with a prediction for each row of ``df``.

    The endpoint is asked at once how much it takes and what its model needs; rows are scored when
    the result is. Like any frame it is computed anew by each action: write it, or ``cache()`` it
    before a second one, or everything is sent twice. A row that fails has a null prediction and an
    error, and ends no task.

    Args:
        df: The rows.
        endpoint: Name of the serving endpoint.
        host: Workspace URL or host name.
        token: Bearer for it. Text given here travels to the executors inside the job.
        client_id: Application id of a service principal; its tokens are renewed on the executors.
        client_secret: Its OAuth secret. With no credentials, Databricks unified authentication
            decides, on the driver and on each executor.
        settings: Settings of the clients; None takes ``Settings.batch()`` with what
            ``Settings.from_env`` finds on the driver.
        columns: Columns to send; None sends those the model's signature knows, all without one.
        keep: Columns of ``df`` in the result; None keeps all.
        result_type: Type of a prediction, as DDL or ``DataType``; None takes what the endpoint's
            description tells.
        prediction_column: Name of the column for predictions.
        error_column: Name of the column for errors; null where there is none.
        rows_per_request: Rows in each request; a task's last has what is left.
        concurrency: Requests at once, of all workers together; None takes the endpoint's
            provisioned concurrency. Each worker gets an equal part, at least one.
        qps: Requests a second, of all workers together; retries come on top.
        workers: Tasks that run at once; None takes the cores Spark has now.
        client_request_id: Start of the requests' ids, by default random for each call: each has
            ``-``, the number of its partition, ``-`` and of its first row there, so that rows which
            a repeated task sent twice show in the inference table.
        progress: Is told of rows, requests and errors as tasks end.

    Returns:
        The kept columns, the prediction and the error.

    Raises:
        ConfigError: An argument is wrong, the frame lacks a column the model needs or has a column
            of a type that cannot be sent, the type of predictions is not known, or pyspark is not
            installed. No job was started.
        ServingError: The endpoint could not be asked.
    """
    types = driver.spark_types()
    names = frames.column_names(df)
    kept = frames.chosen("keep", keep, names)
    frames.check_new((prediction_column, error_column), kept)
    plan = driver.plan(
        endpoint,
        Login(host, token, client_id, client_secret),
        driver.batch_settings(settings),
        result_type,
        df.sparkSession,
        rows_per_request=rows_per_request,
        concurrency=concurrency,
        qps=qps,
        workers=workers,
        client_request_id=client_request_id,
        progress=progress,
    )
    sent = frames.sent(columns, names, plan.signature)
    frames.check_types(df.schema, sent, plan.work.settings.payload)
    used = [name for name in names if name in kept or name in sent]
    scoring = Scoring(plan.work, used, sent, kept, prediction_column, error_column)
    schema = types.StructType(
        [
            *(df.schema[name] for name in kept),
            types.StructField(prediction_column, plan.work.result_type),
            types.StructField(error_column, types.StringType()),
        ]
    )
    return frames.narrow(df, used).mapInArrow(scoring, schema)


def score_udf(
    endpoint: str,
    *,
    host: str | None = None,
    token: str | None = None,
    client_id: str | None = None,
    client_secret: str | None = None,
    settings: Settings | None = None,
    columns: Sequence[str] | None = None,
    result_type: str | DataType | None = None,
    prediction_column: str = "prediction",
    error_column: str = "prediction_error",
    rows_per_request: int = 1000,
    concurrency: int | None = None,
    qps: float | None = None,
    workers: int | None = None,
    client_request_id: str | None = None,
    progress: Progress | None = None,
) -> Any:
    """A function for SQL, which gives each row a struct of prediction and error.

    ::

        spark.udf.register("fraud", score_udf("fraud-model", columns=["amount", "country"]))
        spark.sql("SELECT id, scored.* FROM (SELECT id, fraud(amount, country) scored FROM claims)")

    It is marked nondeterministic, so that Spark does not evaluate it once for each field that is
    read of it. Rows pass through pandas; ``score`` is faster where a frame is at hand.

    Its arguments are those of ``score``, but for ``columns``: names of the function's arguments, in
    order; None takes those in the model's signature. With one argument that is a struct, its fields
    are the columns.

    Returns:
        What ``spark.udf.register`` and ``df.select`` take.

    Raises:
        ConfigError: As for ``score``; there must be an active Spark session too.
        ServingError: The endpoint could not be asked.
    """
    types = driver.spark_types()
    plan = driver.plan(
        endpoint,
        Login(host, token, client_id, client_secret),
        driver.batch_settings(settings),
        result_type,
        driver.active_session(),
        rows_per_request=rows_per_request,
        concurrency=concurrency,
        qps=qps,
        workers=workers,
        client_request_id=client_request_id,
        progress=progress,
    )
    frames.check_new((prediction_column, error_column), ())
    names = frames.arguments(columns, plan.signature)
    returned = types.StructType(
        [
            types.StructField(prediction_column, plan.work.result_type),
            types.StructField(error_column, types.StringType()),
        ]
    )
    scorer = Scorer(plan.work, names, prediction_column, error_column)
    return scorer.function(returned).asNondeterministic()
