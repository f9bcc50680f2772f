"""Maps of one part of an event by what the other part says."""
