"""Names of the classes of digits and signs, for those who do not draw any."""

NONE = "none"
#: The digits, signs by their shape alone, and `NONE`.
CLASS_NAMES = (*"0123456789", "+", "-", "x", "/", "=", "(", ")", ".", NONE)
