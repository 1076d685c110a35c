"""Trains the models of several clients together: one step computes the gradients of all of them."""
