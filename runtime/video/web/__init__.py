"""A live page for a device without a screen: ``--sink http://HOST:PORT``."""
