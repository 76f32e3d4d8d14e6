"""One chat completion: by our client, by OpenAI's over our client, and by OpenAI's as it ships."""

from __future__ import annotations

from typing import Any

from contenders.ours import our_settings
from contenders.place import ENDPOINT, TOKEN, Place

MESSAGES: list[Any] = [
    {"role": "system", "content": "Answer in one sentence."},
    {"role": "user", "content": "When does the branch in the old town open?"},
]


class ServingClientChat:
    """``predict`` of a body of one's own; the answer is a dictionary."""

    def __init__(self, place: Place) -> None:
        from servingclient import ServingClient

        settings = our_settings(place)
        self._client = ServingClient(ENDPOINT, host=place.host, token=TOKEN, settings=settings)

    def call(self) -> str:
        reply = self._client.predict({"messages": MESSAGES}).predictions
        return str(reply["choices"][0]["message"]["content"])

    def close(self) -> None:
        self._client.close()


class OpenAiChat:
    """As it ships, with the connections of its own default; its retries are there too."""

    def __init__(self, place: Place) -> None:
        import openai

        self._client = openai.OpenAI(
            base_url=f"{place.host}/serving-endpoints",
            api_key=TOKEN,
            http_client=openai.DefaultHttpxClient(verify=place.tls()),
        )

    def call(self) -> str:
        reply = self._client.chat.completions.create(model=ENDPOINT, messages=MESSAGES)
        return str(reply.choices[0].message.content)

    def close(self) -> None:
        self._client.close()


class OpenAiOverOurs(OpenAiChat):
    """The same client over ours: what moving to it costs or saves."""

    def __init__(self, place: Place) -> None:
        from servingclient.integrations.openai import openai_client

        self._client = openai_client(host=place.host, token=TOKEN, settings=our_settings(place))
