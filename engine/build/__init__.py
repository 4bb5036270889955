"""Builds engines from networks: graph, typing, compilers, INT8, parity gate. Imports the rooms up to `tracking`."""
