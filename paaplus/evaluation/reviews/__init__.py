"""What do reviews teach an AI tool?"""
