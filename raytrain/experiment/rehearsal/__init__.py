"""What a recipe names that is not raytrain's own, called once before anything starts."""
