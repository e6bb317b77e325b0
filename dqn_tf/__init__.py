"""Trains a Keras DQN under a tf.distribute scope."""
