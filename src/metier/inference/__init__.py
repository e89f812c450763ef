"""Using a finished specialist."""
