"""Many rows on few requests: callers that share one, and large inputs split into several."""
