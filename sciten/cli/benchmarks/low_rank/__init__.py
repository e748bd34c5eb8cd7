"""What `sciten benchmark tensor-formats` and `sciten benchmark pde` measure."""
