"""What `sciten benchmark` measures: one module for each question."""
