"""Maps that are the flow of a differential equation."""
