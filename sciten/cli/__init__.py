"""Command line: thin verbs over the library; each is also one Python call."""
