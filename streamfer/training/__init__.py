"""Training, exporting and evaluating the classifiers that streamfer ships: `python -m streamfer.training`."""
