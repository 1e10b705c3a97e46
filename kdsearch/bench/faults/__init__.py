"""That nothing is lost, whatever breaks."""
