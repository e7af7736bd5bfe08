def check(folder):
    return True


def check_faults(folder):
    return True
