"""The commands, a file each; `cli` has what they share. Nothing in the library imports them."""
