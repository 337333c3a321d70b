"""Does the gate let good candidates live and keep bad ones back?"""
