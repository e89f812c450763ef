"""Plans on paper: how large, on how much text, in what shape, on what, for how long and at what price."""
