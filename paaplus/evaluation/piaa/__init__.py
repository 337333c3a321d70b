"""The field's benchmarks of personalized aesthetics: each paper's protocol on a data folder, beside published rows."""
