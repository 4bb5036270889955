"""Poses for other programs while they are found: standard output, UDP, OSC and WebSocket. Nothing here waits for a
reader: what a slow one does not take is dropped and counted."""
