"""Numbers from features: classifiers, scores, ranks and metrics. Numpy only."""
