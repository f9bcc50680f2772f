"""Maps of images, and what makes a flow of images multi-scale."""
