"""Tracking, smoothing, and the filters of false detections. Imports `detection` and before."""
