"""Settings from the environment: only our own variables, over whatever base."""

from __future__ import annotations

import pytest

from servingclient import ConfigError, Settings

_ALL = {
    "SERVINGCLIENT_TIMEOUT_S": "2.5",
    "SERVINGCLIENT_MAX_ATTEMPTS": "2",
    "SERVINGCLIENT_MAX_LANES": "8",
    "SERVINGCLIENT_CA_FILE": "/ca.pem",
    "SERVINGCLIENT_PROXY": "http://127.0.0.1:3128",
    "SERVINGCLIENT_TRUSTED_HOSTS": "a.example, b.example,",
}


def test_without_variables_the_base_is_untouched() -> None:
    base = Settings.llm()
    assert Settings.from_env(base) is base
    assert Settings.from_env() == Settings()


def test_every_variable_changes_its_setting_and_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in _ALL.items():
        monkeypatch.setenv(name, value)
    made = Settings.from_env(Settings.llm())
    assert made.timeout_s == 2.5
    assert made.retry.max_attempts == 2
    assert made.pool.max_lanes == 8
    assert made.tls.ca_file == "/ca.pem"
    assert made.proxy == "http://127.0.0.1:3128"
    assert made.trusted_hosts == ("a.example", "b.example")
    assert made.idempotent is Settings.llm().idempotent


@pytest.mark.parametrize("name", ["TIMEOUT_S", "MAX_ATTEMPTS", "MAX_LANES"])
def test_a_value_that_is_no_number_names_its_variable(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(f"SERVINGCLIENT_{name}", "many")
    with pytest.raises(ConfigError, match=f"SERVINGCLIENT_{name} is 'many'"):
        Settings.from_env()
