"""Works with no package installed: messages about missing packages, the environment, signals.

Imports the standard library only.
"""
