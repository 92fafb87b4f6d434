"""What a run does next, stage by stage."""
