"""What is in a data set: its classes and files, and which of its images are the same or look alike."""
