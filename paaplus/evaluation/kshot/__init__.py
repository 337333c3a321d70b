"""How well does an adapter score after k ratings?"""
