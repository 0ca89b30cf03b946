"""The client: graphs run on a server as they run in process."""
