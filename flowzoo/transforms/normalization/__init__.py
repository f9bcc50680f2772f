"""Maps that bring data or their energies to a common scale."""
