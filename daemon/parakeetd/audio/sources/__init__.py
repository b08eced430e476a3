"""Where audio comes from: a client's stream, a file, a microphone."""
