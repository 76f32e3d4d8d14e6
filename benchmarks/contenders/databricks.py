"""The two clients Databricks itself offers, by their normal API: from a row to values."""

from __future__ import annotations

from typing import Any

from contenders.place import ENDPOINT, ROW, TOKEN, Place


class DatabricksSdk:
    def __init__(self, place: Place) -> None:
        from databricks.sdk import WorkspaceClient
        from databricks.sdk.core import Config

        # both sizes, as the SDK passes each where the other belongs; it queues above 20 threads
        size = max(20, place.concurrency)
        config = Config(
            host=place.host,
            token=TOKEN,
            max_connection_pools=size,
            max_connections_per_pool=size,
        )
        self.query = WorkspaceClient(config=config).serving_endpoints.query

    def call(self) -> Any:
        return self.query(name=ENDPOINT, dataframe_records=[ROW]).predictions

    def close(self) -> None:
        """It has no way to be closed."""


class Mlflow:
    def __init__(self, place: Place) -> None:
        from mlflow.deployments import get_deploy_client

        del place  # host and credentials come from the environment
        self._client = get_deploy_client("databricks")

    def call(self) -> Any:
        return self._client.predict(endpoint=ENDPOINT, inputs={"dataframe_records": [ROW]})[
            "predictions"
        ]

    def close(self) -> None:
        """It has no way to be closed."""
