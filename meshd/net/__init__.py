"""The only room that touches sockets and OpenSSL: waiting, streams, TLS, dialling, listening."""
