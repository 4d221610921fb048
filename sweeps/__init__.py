"""Sweeps: each a question, a grid, and one command."""
