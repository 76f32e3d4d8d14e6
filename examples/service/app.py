"""A scoring service: payments in, risks out. How to run it stands in the README beside it."""

from typing import Annotated

from fastapi import Depends, FastAPI
from pydantic import BaseModel

from servingclient import AsyncServingClient, Settings
from servingclient.integrations.fastapi import Serving

SETTINGS = Settings(timeout_s=5.0)


class Payment(BaseModel):
    """What the model takes."""

    amount: float
    country: int


class Scored(BaseModel):
    """A risk for each payment, and the id under which the call can be found."""

    risks: list[float]
    request_id: str | None


serving = Serving(lambda: AsyncServingClient("fraud-model", settings=SETTINGS))
app = FastAPI(title="Payment risk", lifespan=serving.lifespan)
serving.install(app)

FraudModel = Annotated[AsyncServingClient, Depends(serving.client())]


@app.post("/score")
async def score(payments: list[Payment], model: FraudModel) -> Scored:
    """Score payments."""
    prediction = await model.predict([payment.model_dump() for payment in payments])
    return Scored(risks=prediction.predictions, request_id=prediction.request_id)
