"""What happens to training images on their way into the model: augmentation, mixing, and their size."""
