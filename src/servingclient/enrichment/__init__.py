"""Clients for external APIs whose answers enrich rows before they are scored."""
