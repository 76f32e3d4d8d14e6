"""Run in an environment that holds the wheel and its core dependencies, and nothing else.

Imports every module, then makes a call over loopback: with no extra, no pandas and no numpy.
"""

import importlib
import importlib.util
import pkgutil
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import servingclient

NOT_CORE = ["rich", "trustme", "pytest", "numpy", "pandas", "polars", "pyarrow", "redis"]

# modules that are for those who have the package anyway
NEEDS = {
    "servingclient.capacity.doctor.terminal": "rich",
    "servingclient.enrichment.redis_py": "redis",
    "servingclient.enrichment.redis_tasks": "redis",
    "servingclient.enrichment.redis_threads": "redis",
    "servingclient.integrations.datadog": "datadog",
    "servingclient.integrations.fastapi": "starlette",
    "servingclient.integrations.locust": "locust",
    "servingclient.integrations.opentelemetry": "opentelemetry",
    "servingclient.integrations.otel_metrics": "opentelemetry",
    "servingclient.integrations.otel_span": "opentelemetry",
    "servingclient.integrations.prometheus": "prometheus_client",
    "servingclient.integrations.pytest_plugin": "pytest",
    "servingclient.telemetry.terminal": "rich",
}


def check(claim: bool, text: str) -> None:
    if not claim:
        sys.exit(f"the wheel alone: {text}")


def main() -> None:
    package = Path(servingclient.__file__)
    check("site-packages" in package.parts, f"{package} is not the installed one")
    check(package.with_name("py.typed").exists(), "py.typed is missing")
    found = [name for name in NOT_CORE if importlib.util.find_spec(name)]
    check(not found, f"the environment is not clean: {found}")

    modules = [m.name for m in pkgutil.walk_packages(servingclient.__path__, "servingclient.")]
    for name in modules:
        if name.endswith(".__main__"):
            continue
        try:
            importlib.import_module(name)
        except ModuleNotFoundError as error:
            check(error.name == NEEDS.get(name), f"{name} needs {error.name}")
    for name in servingclient.__all__:
        check(hasattr(servingclient, name), f"{name} is exported and absent")

    from servingclient.emulator import Emulator

    with Emulator(tls=False) as emulator:
        emulator.add_endpoint("wheel")
        with servingclient.ServingClient(
            "wheel", host=emulator.host, token=emulator.token
        ) as client:
            answer = client.predict([{"a": 1.5, "b": 2}]).predictions
    check(answer == [3.5], f"predicted {answer}")

    command = Path(sys.executable).with_name("servingclient")
    subprocess.run([command, "--help"], check=True, stdout=subprocess.DEVNULL)

    version = metadata.version("servingclient")
    print(f"the wheel alone: {version}, {len(modules)} modules import, one call made")


if __name__ == "__main__":
    main()
