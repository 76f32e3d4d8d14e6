"""Figures: histograms and meters, what is read from the endpoint itself, and where they go."""
