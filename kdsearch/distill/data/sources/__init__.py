"""Where samples come from: named data sets, folders of images, users' factories."""
