"""Language models on the server: a keyboard's teacher, and the students that start from what it says."""
