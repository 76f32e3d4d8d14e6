"""The examples of docs/howto-spark.md run, in order. They are fenced as ``py``, since the suite
that runs those of all other pages has no Spark.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from servingclient.emulator import Emulator

pytest.importorskip("pyspark", reason="pyspark is not installed here: run `make engines`")

PAGE = Path(__file__).parents[3] / "docs" / "howto-spark.md"


def test_the_examples_run(spark: Any) -> None:
    blocks = re.findall(r"^```py\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    assert len(blocks) == 6
    with Emulator(tls=False) as emulator:
        emulator.add_endpoint("fraud-model", slots=4, schema={"a": "double", "b": "double"})
        names = {
            "spark": spark,
            "emulator": emulator,
            "credentials": {"host": emulator.host, "token": emulator.token},
        }
        for block in blocks:
            exec(compile(block, str(PAGE), "exec"), names)
