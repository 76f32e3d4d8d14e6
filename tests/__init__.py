"""The suite. A package, so that tests may share what they need as tests.<module>."""
