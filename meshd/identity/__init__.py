"""Who is it: SPIFFE IDs, X.509 SVIDs, trust bundles, our own credentials, and the small CA that issues them.

No sockets, no trio and no TLS sessions here: what a handshake yields comes in as DER, the time comes in as a number.
"""
