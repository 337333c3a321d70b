"""Experts, quizzes, and matching users with experts' models."""
