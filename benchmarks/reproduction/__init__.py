"""The experiments of the literature, run again with this code base's own training."""
