"""Run by the peer environment: save some models with MLflow, load them, serve each on its own port.

Prints one JSON object {model name: port} and then serves until it is told to end. The sockets
listen before the line is printed, so a client that connects at once waits for the server instead
of failing.

The application is `scoring_server.init(load_model(path))`, which is all that
`mlflow.pyfunc.scoring_server.app` does; doing it here serves every model from one process, since
it is the import of mlflow that costs the start-up.
"""

import asyncio
import json
import os
import socket
import sys
from pathlib import Path

import mlflow
import numpy as np
import pandas as pd
import uvicorn
from mlflow.models import ModelSignature, infer_signature
from mlflow.pyfunc import PythonModel, scoring_server
from mlflow.types import ColSpec, DataType, ParamSchema, ParamSpec, Schema
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression


class Rows(PythonModel):
    """Echoes its rows with the type of each value: shows what the server made of the input."""

    def predict(self, context, model_input, params=None):
        frame = pd.DataFrame(model_input)
        return [
            {"values": [str(v) for v in row], "types": [type(v).__name__ for v in row]}
            for row in frame.itertuples(index=False)
        ]


class Sum(PythonModel):
    """a + b for each row; `factor` from the params."""

    def predict(self, context, model_input, params=None):
        factor = (params or {}).get("factor", 1.0)
        return [float(v) for v in (model_input["a"] + model_input["b"]) * factor]


class Frame(PythonModel):
    """The input frame itself."""

    def predict(self, context, model_input, params=None):
        return model_input


class Tensor(PythonModel):
    """An array's values as floats."""

    def predict(self, context, model_input, params=None):
        return np.asarray(model_input, dtype=float)


class Returns(PythonModel):
    """Always the same value, whatever the input."""

    def __init__(self, value):
        self.value = value

    def predict(self, context, model_input, params=None):
        return self.value


class Raises(PythonModel):
    """Fails on every input, with the input's first value in its message."""

    def predict(self, context, model_input, params=None):
        raise KeyError("no such feature")


def typed(**columns):
    return Schema([ColSpec(DataType[kind], name) for name, kind in columns.items()])


def pyfuncs():
    """Name to (python model, signature or None)."""
    numbers = typed(a="double", b="long")
    factor = ParamSchema([ParamSpec("factor", DataType.double, 1.0)])
    return {
        "sum": (Sum(), ModelSignature(inputs=numbers, params=factor)),
        "frame": (Frame(), ModelSignature(inputs=numbers)),
        "kinds": (
            Rows(),
            ModelSignature(
                inputs=typed(
                    d="double", i="long", s="string", t="datetime", y="binary", b="boolean"
                )
            ),
        ),
        "narrow": (Rows(), ModelSignature(inputs=typed(f="float", n="integer"))),
        "echo": (Rows(), None),
        "tensor": (Tensor(), None),
        "series": (Returns(pd.Series([3.5, 7.0])), None),
        "dict": (Returns({"mean": 3.5, "rows": [1, 2]}), None),
        "scalar": (Returns(4.25), None),
        "bytes": (Returns(b"abc"), None),
        "nan": (Returns([float("nan"), float("inf"), float("-inf"), 1.0]), None),
        "nat": (Returns(pd.DataFrame({"t": [pd.Timestamp("2024-05-01T10:00:00"), pd.NaT]})), None),
        "array": (Returns(np.arange(6, dtype=np.float32).reshape(2, 3)), None),
        "raises": (Raises(), None),
    }


def iris():
    table = load_iris(as_frame=True)
    model = LogisticRegression(max_iter=1000).fit(table.data, table.target)
    return model, infer_signature(table.data, model.predict(table.data))


def save_all(folder):
    paths = {}
    for name, (model, signature) in pyfuncs().items():
        paths[name] = str(folder / name)
        mlflow.pyfunc.save_model(
            paths[name], python_model=model, signature=signature, pip_requirements=[]
        )
    model, signature = iris()
    paths["iris"] = str(folder / "iris")
    mlflow.sklearn.save_model(
        model,
        paths["iris"],
        signature=signature,
        pip_requirements=[],
        serialization_format="cloudpickle",
    )
    return paths


def listen():
    sock = socket.create_server(("127.0.0.1", 0), backlog=256)
    sock.setblocking(False)
    return sock


async def serve(paths, sockets):
    servers = []
    for name, sock in sockets.items():
        app = scoring_server.init(scoring_server.load_model_with_mlflow_config(paths[name]))
        server = uvicorn.Server(uvicorn.Config(app, log_level="warning", lifespan="off"))
        servers.append(server.serve(sockets=[sock]))
    await asyncio.gather(*servers)


def main():
    folder = Path(sys.argv[1])
    os.environ["MLFLOW_TRACKING_URI"] = (folder / "tracking").as_uri()
    paths = save_all(folder)
    sockets = {name: listen() for name in paths}
    print(json.dumps({name: sock.getsockname()[1] for name, sock in sockets.items()}), flush=True)
    asyncio.run(serve(paths, sockets))


if __name__ == "__main__":
    main()
