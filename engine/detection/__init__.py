"""Person detection: the detector, its schedule, box propagation between its runs. Imports `backends` and before."""
