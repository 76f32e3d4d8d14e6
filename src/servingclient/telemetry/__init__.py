"""The figures of a client: what is counted, over which windows, and how it is shown.

What takes them elsewhere, such as to Prometheus, belongs to ``integrations``.
"""
