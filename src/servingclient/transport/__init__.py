"""Connections: the pure reply parser, lanes and pools of both colours, httpx on both sides.

The only room that knows sockets, TLS, httptools and httpx.
"""
