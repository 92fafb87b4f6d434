"""How a run folder is written: by one command at a time, event by event, where a run before it stopped."""
