"""Why a request fares as it does: questions put to the very engine that serves traffic, never to a model of it. No
sockets, no files."""
