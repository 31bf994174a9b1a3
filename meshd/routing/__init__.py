"""Which route a request takes. Pure."""
