"""Documents: a model of every accepted kind, loading, errors with file, line and column. It compiles nothing."""
