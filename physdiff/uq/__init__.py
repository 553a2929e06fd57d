"""Floor 6: how sure networks are: draws of their weights (ensembles, dropout, Hamiltonian chains, Laplace) and what they say of fields."""
