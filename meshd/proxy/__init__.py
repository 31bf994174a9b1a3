"""Verbs: what a worker does with connections and exchanges. Read `forward.py` first, then `downstream.py`."""
