"""The pipelines that workers and the command line run: training, feature extraction, labelling, fitting."""
