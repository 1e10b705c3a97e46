"""What can be looked at before anything is trained: data, networks, weights, objective, cost."""
