"""One module a paper: the method itself, pure PyTorch; no I/O, no globals, no plotting."""
