"""What the tests give to Locust: one class that sends its inputs, one with a task of its own."""

import os

import gevent
import locust.stats
from locust import constant_throughput, events, task

from servingclient.integrations.locust import ServingUser
from servingclient.settings import Settings, Tls

told = os.environ  # noqa: TID251 - of the test
CREDENTIALS = {"host": told["EMULATOR_HOST"], "token": told["EMULATOR_TOKEN"]}
SETTINGS = Settings(tls=Tls(ca_file=told["EMULATOR_CA"]))


locust.stats.CSV_STATS_INTERVAL_SEC = 0.1


@events.quitting.add_listener
def file_is_written(**_: object) -> None:
    """The file is not written once more at the end, only at each interval."""
    gevent.sleep(0.5)


class Sends(ServingUser):
    endpoint = "demo"
    inputs = ([{"a": 1.0, "b": 2.0}], [{"a": 3.0, "b": 4.0}])
    credentials = CREDENTIALS
    settings = SETTINGS
    wait_time = constant_throughput(10)


class Asks(ServingUser):
    endpoint = "demo"
    credentials = CREDENTIALS
    settings = SETTINGS
    wait_time = constant_throughput(10)

    @task
    def two_calls(self) -> None:
        prediction = self.predict([{"a": 1.0, "b": 2.0}], name="good")
        assert len(prediction.predictions) == 1
        self.predict([{"a": "no number", "b": 2.0}], name="bad")
        raise AssertionError  # a call that failed ends the task
