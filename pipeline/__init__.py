"""Configuration, parts, the Ray graph, the worker host and the command line."""
