"""A recipe becomes trials."""
