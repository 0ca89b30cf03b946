"""The command line. Each command is a module, imported when it is called, so that `--help` answers at once."""
