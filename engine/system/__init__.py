"""Code that works with no package installed: missing packages, environment variables, signals.

Imports the standard library only.
"""
