"""How much concurrency an endpoint needs, and whether it has it."""
