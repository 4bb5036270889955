"""Where the people are: the detector, when to run it, boxes propagated in between. Imports `backends` and before."""
