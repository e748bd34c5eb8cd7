"""Adapters to other people's programs; each is imported on its own, so none is needed for the others."""
