"""Real processes under real faults, with every message accounted for: scripts/soak."""
