"""Load tests that can be trusted: open loop, latency from the intended start, a check of itself."""
