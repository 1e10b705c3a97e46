"""Answers off the request path: computed elsewhere and kept."""
