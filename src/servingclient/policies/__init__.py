"""Decisions. Pure: clock, chance and locks are arguments, and the story acts on the advice."""
