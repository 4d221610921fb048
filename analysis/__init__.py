"""Measures every layer of every checkpoint into one long table, and draws figures from it."""
