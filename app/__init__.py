"""The window: a PyQt5 program over `engine`, which knows neither torch nor any runtime."""
