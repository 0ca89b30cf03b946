"""The table of hostile calls: what a server is sent by strangers, and the answer that it must give."""
