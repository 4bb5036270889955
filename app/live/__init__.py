"""What runs behind the window: playback, inference, drawing, and the items that travel between their threads."""
