"""Who is who from frame to frame, and which detections are false. Imports `detection` and before."""
