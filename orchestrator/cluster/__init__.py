"""Commands on a Ray cluster: submit a command as a Ray Job, follow its log, show what runs, and stop it."""
