"""From weights and boxes to keypoints, and from keypoints to AP."""
