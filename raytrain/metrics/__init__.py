"""What is measured: the metrics of an epoch and of a class, stored predictions, and the metric that decides."""
