"""What is decided on the driver, before there is a job: by the endpoint, Spark and the caller."""

from __future__ import annotations

import uuid
import warnings
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from servingclient import _step
from servingclient._types import WireFault
from servingclient.errors import ConfigError, NotFound, ServingError
from servingclient.integrations.spark import budget
from servingclient.integrations.spark.progress import Progress
from servingclient.integrations.spark.results import fitting
from servingclient.integrations.spark.scoring import Login, Work
from servingclient.payload.signature import Kind, Output, Signature
from servingclient.settings import Settings
from servingclient.settings.concurrency import INITIAL_CALLS

if TYPE_CHECKING:
    from pyspark.sql import SparkSession
    from pyspark.sql.types import DataType

_ASK_S: Final = 60.0
"""For the driver's questions: someone waits at a notebook, while requests of a job have minutes."""
_DDL: Final[dict[Kind, str]] = {
    "long": "bigint",
    "integer": "int",
    "double": "double",
    "float": "float",
    "boolean": "boolean",
    "string": "string",
    "datetime": "timestamp",
    "binary": "binary",
}


class Plan(NamedTuple):
    """What a job needs.

    Attributes:
        work: What travels to the workers.
        signature: The columns the model takes; None when the endpoint does not tell.
    """

    work: Work
    signature: Signature | None


class _Told(NamedTuple):
    """What the endpoint says of itself; None where it does not."""

    provisioned: int | None
    signature: Signature | None
    output: Output | None


def spark_types() -> Any:
    """``pyspark.sql.types``.

    Raises:
        ConfigError: pyspark is not installed, or pyarrow, without which it hands no rows over.
    """
    try:
        import pyarrow as pa  # noqa: F401 - looked for here, so that no task has to fail for it
        from pyspark.sql import types
    except ImportError as absent:
        package = (absent.name or "pyspark").partition(".")[0]
        raise ConfigError(
            f"Scoring on Spark needs {package}, which is not installed here. Install it with: "
            "pip install 'servingclient[spark]' (on the driver and on all executors)."
        ) from None
    return types


def active_session() -> Any:
    """The Spark session at hand.

    Raises:
        ConfigError: There is none.
    """
    from pyspark.sql import SparkSession

    session = SparkSession.getActiveSession()
    if session is None:
        raise ConfigError("There is no active Spark session. Make one first: SparkSession.builder.")
    return session


def batch_settings(settings: object) -> Settings:
    """The settings of the clients on the workers.

    Raises:
        ConfigError: They are none.
    """
    if settings is None:
        return Settings.from_env(Settings.batch())
    if isinstance(settings, Settings):
        return settings
    raise ConfigError(f"settings must be Settings(...), not {type(settings).__name__}.")


def plan(
    endpoint: str,
    login: Login,
    settings: Settings,
    result_type: str | DataType | None,
    session: SparkSession,
    *,
    rows_per_request: int,
    concurrency: int | None,
    qps: float | None,
    workers: int | None,
    client_request_id: str | None,
    progress: Progress | None,
) -> Plan:
    """See ``score`` for the arguments and errors."""
    rows = budget.checked_count("rows_per_request", rows_per_request)
    if rows is None:
        raise ConfigError("rows_per_request is None; give a whole number above 0.")
    limit = budget.checked_count("concurrency", concurrency)
    at_once = budget.checked_count("workers", workers) or _workers(session)
    rate = budget.calls_per_s(qps, at_once)
    if client_request_id is not None and not isinstance(client_request_id, str):
        raise ConfigError("client_request_id must be text.")
    if progress is not None and not isinstance(progress, Progress):
        raise ConfigError(f"progress must be a Progress(spark), not {type(progress).__name__}.")
    given = None if result_type is None else _data_type(result_type, session)
    told = _ask(endpoint, login, settings)
    limit = limit or told.provisioned or INITIAL_CALLS
    if at_once > limit:
        warnings.warn(
            f"{at_once} workers share {limit} requests at once, and each has at least one: up to "
            f"{at_once} will reach {endpoint!r} together. Have fewer tasks at once with "
            f"df.coalesce({limit}) and workers={limit}, or raise the provisioned concurrency.",
            stacklevel=3,
        )
    work = Work(
        endpoint,
        login,
        settings,
        given or _told_type(told.output, endpoint, session),
        rows,
        budget.in_flight(limit, at_once),
        rate,
        client_request_id or uuid.uuid4().hex,
        progress,
    )
    return Plan(work, told.signature)


def _workers(session: Any) -> int:
    """Tasks that run at once on the cores there are now."""
    try:
        context = session.sparkContext
        cores = context.defaultParallelism
        of_a_task = int(context.getConf().get("spark.task.cpus", "1"))
    except Exception:  # noqa: BLE001 - each version has an error of its own for this
        raise ConfigError(
            "This Spark does not tell how many tasks run at once (Spark Connect, serverless). Give "
            "workers=, the number of cores of all executors."
        ) from None
    return max(1, int(cores) // of_a_task)


def _ask(endpoint: str, login: Login, settings: Settings) -> _Told:
    """What the endpoint says of itself, asked once for all workers.

    Raises:
        ConfigError: An argument is wrong, or no credentials are found.
        ServingError: It cannot be asked.
    """
    with login.client(endpoint, settings) as client:
        limit_s = min(settings.timeout_s, _ASK_S)
        client.warmup(timeout=limit_s)  # has the errors a user would see
        access = client._parts.access  # noqa: SLF001 - what an endpoint is like no door tells
        until_s = client._parts.clock.now() + limit_s  # noqa: SLF001 - likewise
        asked = None
        with suppress(ServingError, WireFault):  # what cannot be had is an answer too
            _step.run(access.learn(until_s))
            asked = _step.run(access.look(until_s))
        described, schema = access.description, access.schema
    if asked is not None and asked.status == 404:
        error = NotFound(
            f"There is no {endpoint!r} in the workspace (404), so no row was sent. Check the "
            "endpoint's name and the workspace."
        )
        error.endpoint, error.status_code = endpoint, asked.status
        raise error
    return _Told(
        None if described is None else described.provisioned_concurrency,
        None if schema is None else schema.of(None),
        None if schema is None else schema.outputs.get(None),
    )


def _told_type(output: Output | None, endpoint: str, session: SparkSession) -> Any:
    if output is None:
        raise ConfigError(
            f"{endpoint!r} does not tell what type its predictions are of. Give "
            "result_type='double', or whatever the model answers for one row: 'array<float>', "
            "'struct<label: string, score: double>'."
        )
    return _data_type(_ddl(output), session)


def _ddl(output: Output) -> str:
    if output.items is not None:
        return f"array<{_ddl(output.items)}>"
    if output.fields is not None:
        named = [f"`{name.replace('`', '``')}`: {_ddl(one)}" for name, one in output.fields.items()]
        return f"struct<{', '.join(named)}>"
    assert output.kind is not None
    return _DDL[output.kind]


def _data_type(given: object, session: Any) -> Any:
    """A type, checked; ``a int, b double`` is a struct, as everywhere in Spark.

    Raises:
        ConfigError: It is none, or one that predictions cannot be of.
    """
    from pyspark.sql.types import DataType

    found = _parsed(given, session) if isinstance(given, str) else given
    if not isinstance(found, DataType):
        raise ConfigError(
            f"result_type is {repr(given)[:60]}, which is no type Spark knows. Give DDL such as "
            "'double' or 'struct<label: string, score: double>', or a DataType."
        )
    fitting(found)
    return found


def _parsed(ddl: str, session: Any) -> Any:
    for text in (ddl, f"struct<{ddl}>"):
        try:
            # pyspark before 4.0 has no public function for it; nothing is computed here
            return session.range(0).selectExpr(f"CAST(NULL AS {text}) AS t").schema["t"].dataType
        except Exception:  # noqa: BLE001, S112 - each version has an error of its own for this
            continue
    return None
