"""A whole mesh on loopback, for `meshd up`: two apps, their sidecars, traffic, and what is expected of it."""
