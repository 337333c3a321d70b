"""Experts, quizzes, and matching a user with experts' models."""
