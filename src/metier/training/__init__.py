"""Batches, one loop, checkpoints."""
