"""Processes that are timed: each answers requests in JSON lines, in the Python of the program it measures.

`serve.py` and the workers of other programs run as scripts in another Python and import nothing of sciten.
"""
