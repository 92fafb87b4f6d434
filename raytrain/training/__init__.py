"""One trial in plain PyTorch: the recipe, the loop, evaluation and checkpoints. Nothing here imports Ray."""
