"""HTTP without sockets: from bytes to heads and bodies and back, and the rules in between. No I/O, no clock."""
