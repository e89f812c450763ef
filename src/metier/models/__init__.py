"""Bases: found, loaded, adapted and run."""
