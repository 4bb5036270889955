"""What is stored: specs, exported and compiled files, caches, downloads, part files.

Imports the vocabulary and `system`.
"""
