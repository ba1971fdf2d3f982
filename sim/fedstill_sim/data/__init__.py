"""What a virtual fleet's devices hold: digits, a folder of one's own, and the ways to split them."""
