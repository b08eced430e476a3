"""Measures this machine: how long a device takes for a segment or a batch, for routing and for people."""
