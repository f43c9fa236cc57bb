"""What compares a learner's function with a reference, and says in words what differs; it imports nothing of labkit."""
