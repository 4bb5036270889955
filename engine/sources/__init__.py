"""Sources of frames: files, cameras, streams, photos, the demo. Imports the rooms up to `artifacts`."""
