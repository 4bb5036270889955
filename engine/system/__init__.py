"""What must work when nothing else does: missing packages, the environment, signals.

Imports the standard library only.
"""
