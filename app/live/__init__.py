"""The threads behind the window (capture, inference, drawing) and what they exchange; imports no widget."""
