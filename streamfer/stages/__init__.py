"""The stages of a pipeline, each in a process of its own: capture, detect, classify, sink."""
