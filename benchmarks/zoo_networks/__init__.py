"""Networks as people bring them, each written the way its authors or its users write it.

Nothing in them is made for fedstill: no line was changed so that a graph could be built of it.
"""
