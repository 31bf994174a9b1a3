"""Processes: supervisor, workers and controller, and what passes between them. No request is looked at here."""
