"""Commands of the converters, found through the entry-point group `physioscale.commands`."""
