"""Person re-identification on Ray: FGSAM, its phases, its data and its search."""
