"""Data sets of people and their keypoints, as crops and targets."""
