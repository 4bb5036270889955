"""The pipeline of a frame, its options and its threads. Imports `build` and before."""
