"""PhysiqueFrame (PAA+, CVPR 2025): scores of appearance, health and posture from image, posture and body mesh."""
