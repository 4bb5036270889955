"""Drawing over a frame. Imports `artifacts` and what it may import."""
