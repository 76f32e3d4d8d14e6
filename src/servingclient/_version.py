"""The version, once for the package, the User-Agent header and the build."""

__version__ = "0.1.0"
