"""The way to an endpoint: which one, over which connection, and whether to try again. Decisions are pure; only
`pool.acquire` waits."""
