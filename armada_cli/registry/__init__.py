"""What is installed: hooks, the catalog of components, classes in local files."""
