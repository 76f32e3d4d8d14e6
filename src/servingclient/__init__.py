"""The production client for Databricks Model Serving."""

from __future__ import annotations

__all__: list[str] = []
