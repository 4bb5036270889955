"""The widgets: each shows the values that it is given and signals what the user does; no threads, no files."""
