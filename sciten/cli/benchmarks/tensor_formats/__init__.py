"""`sciten benchmark tensor-formats`: low-rank formats beside other libraries and published figures."""
