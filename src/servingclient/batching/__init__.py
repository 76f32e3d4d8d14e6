"""Calls of several callers that share one request."""
