"""What is shown to the world: the model card and the repository folder that is uploaded."""
