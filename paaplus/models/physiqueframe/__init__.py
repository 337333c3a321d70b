"""PhysiqueFrame (PAA+, CVPR 2025): image, posture and body mesh to scores of appearance, health and posture."""
