"""A client in a FastAPI service: ``pip install 'servingclient[fastapi]'``.

::

    serving = Serving("fraud-model")
    app = FastAPI(lifespan=serving.lifespan)
    serving.install(app)
    FraudModel = Annotated[AsyncServingClient, Depends(serving.client())]


    @app.post("/score")
    async def score(payments: list[dict[str, float]], model: FraudModel) -> list[float]:
        return (await model.predict(payments)).predictions

Clients live as long as the app; ``/readyz`` and ``/livez`` answer probes; the caller's time limit
is the call's; a caller who goes takes the call along; errors become 429, 503, 504, 502 and 400;
SIGTERM drains. Only starlette is imported, so apps of Starlette alone can have it too: they call
what ``serving.client()`` returns with their request.
"""

from __future__ import annotations

from servingclient.integrations.fastapi.ending import Drain
from servingclient.integrations.fastapi.request import time_left
from servingclient.integrations.fastapi.serving import Serving

__all__ = ["Drain", "Serving", "time_left"]
