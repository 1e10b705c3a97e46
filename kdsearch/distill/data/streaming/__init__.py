"""Images that do not lie on the device: decoded, kept and fed while students train."""
