"""The end-to-end echo matrix: contestants, machine description, and summary. Driven by bench/run."""
