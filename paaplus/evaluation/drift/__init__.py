"""Does the drift watch find people whose taste turned?"""
