"""Over how many devices: the tf.distribute strategy, and what replicas send each other."""
