"""Data sets, training, evaluation and export of the networks that classify faces."""
