"""What is written: export, video, sound, poses. Imports `pipeline` and before."""
