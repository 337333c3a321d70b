"""The demo of the three stages of PAA+: tools, experts, matching and feedback."""
