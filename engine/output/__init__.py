"""Writing of results: export, video, sound, poses. Imports `pipeline` and the rooms before it."""
