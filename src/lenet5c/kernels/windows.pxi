# im2col and col2im of one image plane, for float32 and float64.
#
#   rows[(kh KW + kw), oh OW + ow] = image[oh SH + kh DH - PH, ow SW + kw DW - PW], or `fill`
#     outside

ctypedef fused real:
    float
    double


cdef struct Window:
    Py_ssize_t H, W, OH, OW
    Py_ssize_t KH, KW, SH, SW, PH, PW, DH, DW


cdef void unfold(const real* image, const Window* win, real fill, real* rows) noexcept nogil:
    """The KH KW rows of one image plane."""
    cdef Py_ssize_t kh, kw, oh, ow, h, w
    for kh in range(win.KH):
        for kw in range(win.KW):
            for oh in range(win.OH):
                h = oh * win.SH + kh * win.DH - win.PH
                for ow in range(win.OW):
                    w = ow * win.SW + kw * win.DW - win.PW
                    rows[ow] = image[h * win.W + w] if 0 <= h < win.H and 0 <= w < win.W else fill
                rows += win.OW


cdef void fold(const real* rows, const Window* win, real* image) noexcept nogil:
    """Add the KH KW rows onto one image plane."""
    cdef Py_ssize_t kh, kw, oh, ow, h, w
    for kh in range(win.KH):
        for kw in range(win.KW):
            for oh in range(win.OH):
                h = oh * win.SH + kh * win.DH - win.PH
                if 0 <= h < win.H:
                    for ow in range(win.OW):
                        w = ow * win.SW + kw * win.DW - win.PW
                        if 0 <= w < win.W:
                            image[h * win.W + w] += rows[ow]
                rows += win.OW
