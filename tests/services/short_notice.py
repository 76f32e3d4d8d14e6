"""The example service as the tests run it: it ends sooner, tells which worker answers, and signs in
without databricks-sdk, whose import takes each worker two seconds.
"""

import os
from functools import partial

from app import SETTINGS, app, serving  # type: ignore[import-not-found] # from examples/service

from servingclient import AsyncServingClient
from servingclient.integrations.fastapi import Drain

HOST, TOKEN = (os.environ[f"DATABRICKS_{name}"] for name in ("HOST", "TOKEN"))  # noqa: TID251

serving._made_by = [
    partial(AsyncServingClient, "fraud-model", host=HOST, token=TOKEN, settings=SETTINGS)
]
serving._ending._rules = Drain(notice_s=1.0, within_s=8.0)


@app.get("/pid")
def pid() -> int:
    return os.getpid()
