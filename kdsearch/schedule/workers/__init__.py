"""What runs on the workers of a cluster: the trainers and what they report."""
