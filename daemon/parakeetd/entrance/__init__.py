"""What every way into the daemon shares, whichever protocol comes through it: addresses, who may connect, tokens,
limits of calls, and how long a client is waited for."""
