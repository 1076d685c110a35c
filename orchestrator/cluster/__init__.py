"""Commands on a cluster: submitted as Ray Jobs, followed, looked at and stopped."""
