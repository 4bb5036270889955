"""The way of a frame, its options and its threads. Imports `build` and before."""
