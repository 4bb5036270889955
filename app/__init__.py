"""The window: a PyQt5 program on top of engine/; it never imports torch or a runtime itself."""
