"""Whether verdicts on claims hold, on simulated studies whose truth is known."""
