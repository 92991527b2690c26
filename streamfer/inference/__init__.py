"""Runtimes that execute a trained model."""
