"""Linear maps of a whole vector: one interface, many ways to write down a matrix.

What each costs for a batch of B events in D dimensions, in multiply-adds to leading order; the
gradient takes about twice the forward pass unless noted. "solve" is a triangular one.

| layer | matrices | parameters | forward | log-det | inverse |
|---|---|---|---|---|---|
| `Dense` | every invertible one | D² | B D² | D³/3; not at all in a training step under the relative gradient | D³/3 + B D² |
| `PLU` | those whose pivots have P's order and fixed signs | D² | D³/3 + B D² | D | B D² in two solves |
| `QR` | every invertible one | D²/2 + Q's | R: B D²; Q's | D | R: B D²/2 in a solve; Q's |
| `SVD` | every invertible one | D + twice Q's | twice Q's | D | twice Q's |
| `TriangularLinear` | triangular, positive diagonal | D²/2 | B D² | D | B D²/2 in a solve |
| `Householder`, K reflections | orthogonal; all of one sign of det for K = D | K D | 2 B K D + K² (D + B/2), a solve in it | 0 | as forward |
| `Orthogonal`, cayley | rotations of Q_0 without eigenvalue −1 | D²/2 | 4 D³/3 + B D² in general solves | 0 | as forward |
| `Orthogonal`, exponential | rotations of Q_0 | D²/2 | about 10 D³ + B D² | 0 | as forward |
| `Orthogonal`, newton_schulz | orthogonal, of the sign of det at the start | D² | 42 D³ + B D², products alone | 0 up to `orthogonality_error` | as forward |
| `Permutation`, `Reverse` | permutations | 0 | B D moves | 0 | as forward |
| `Whiten` | fixed, fitted to data | 0 | B D² | 0 | B D² |
| `Triangular` | the Gaussian's, upper triangular | D²/2 | B D² | D | B D²/2 in a solve |

The orthogonal layers are exactly as well conditioned as the identity, and SVD's condition number is
that of its scales. Those of the others are whatever training makes them; `PLU` inverts worse than
`Dense`, whose factorisation chooses its pivots anew.
"""  # noqa: E501
