"""Traces, metrics and logs: a worker turns exchanges into compact records, the controller tells the world."""
