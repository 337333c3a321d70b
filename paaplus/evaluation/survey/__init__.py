"""What does a survey say about taste?"""
