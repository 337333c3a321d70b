"""Surveys, their forms, and preferences learned from them."""
