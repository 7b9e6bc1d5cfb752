"""Files of published models: fetching, weights, tokenizers, tiny checkpoints. Public to plugins."""
