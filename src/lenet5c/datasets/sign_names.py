"""Names of the classes of digits and signs, without the code that draws them."""

NONE, SEVERAL = "none", "several"
#: The digits, signs by their shape alone, what is neither, and several characters at once.
CLASS_NAMES = (*"0123456789", "+", "-", "x", "/", "=", "(", ")", ".", NONE, SEVERAL)
