"""What gates compute, as formulas that a student knows."""
