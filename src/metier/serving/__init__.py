"""What answers in a browser or over HTTP, on this machine."""
