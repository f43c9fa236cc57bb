"""Environments with Gymnasium's API, in which agents learn: mazes, and Atari games with their wrappers."""
