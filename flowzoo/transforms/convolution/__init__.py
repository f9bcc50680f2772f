"""Linear maps of an image that treat all pixels alike."""
