"""Random views of images: drawn by number, rendered in batches."""
