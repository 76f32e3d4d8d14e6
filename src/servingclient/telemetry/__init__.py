"""The figures of a client: what is counted, over which windows, and how it is shown."""
