"""The inspector's conversation with the nucleus: configuration, commands, triggers, health, delivery, lifecycle."""
