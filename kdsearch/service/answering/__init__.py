"""Answers off the request path: computed by processes of their own, and kept until trials change."""
