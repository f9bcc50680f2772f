"""Maps whose Jacobian is triangular because each coordinate sees those before it."""
