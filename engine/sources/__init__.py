"""Where frames come from: files, cameras, streams, photos, the demo. Imports `artifacts` and what it may import."""
