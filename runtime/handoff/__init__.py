"""A bundle for other people's runtimes: a Triton model repository, and what DeepStream needs besides."""
