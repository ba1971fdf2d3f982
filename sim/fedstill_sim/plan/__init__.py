"""`fedstill plan`: how long a run will take, and what it will cost, before anything is trained."""
