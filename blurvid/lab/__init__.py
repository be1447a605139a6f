"""The lab: data, simulation, training, scores and timing; the core never imports it."""
