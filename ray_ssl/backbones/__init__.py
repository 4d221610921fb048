"""Backbones: one file each, found by name; named layers in order, every layer's features in one pass."""
