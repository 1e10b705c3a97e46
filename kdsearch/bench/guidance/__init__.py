"""The guidance page, made from the results of the paper's studies."""
