"""Class names of digits and signs."""

NONE, SEVERAL = "none", "several"
#: Digits, signs by shape, neither of these, and several characters.
CLASS_NAMES = (*"0123456789", "+", "-", "x", "/", "=", "(", ")", ".", NONE, SEVERAL)
