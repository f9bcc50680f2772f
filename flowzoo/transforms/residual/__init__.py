"""Maps `x + g(x)` that are invertible because g is."""
