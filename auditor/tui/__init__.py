"""The terminal interface: screens over a stream of events. Loads no torch until an audit starts."""
