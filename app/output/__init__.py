"""What a person takes out of the window: snapshots, recordings, exports."""
