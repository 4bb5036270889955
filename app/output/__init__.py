"""The outputs of the window: snapshots, recordings, exports."""
