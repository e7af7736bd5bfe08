# Convolutions of one tap: at each place, a product of the filters, a matrix, with the values of all
# channels there. Names and layouts as in conv2d.pxi.
#
# The planes of channels may lie a power of two apart, and then a cache holds few of the lines of
# one place at a time. So some places are copied side by side, (C, POINTS, 16), and used by all
# filters while they are in the cache. The gradient of x is the same product of dy, with the filters
# transposed. Each sum takes its terms in the order of the definition, so the bits are those of
# conv2d_group.

cdef enum:
    POINTS = 8          # places at a time
    MIN_PRODUCT = 4   # minimum channels and outputs for the copies to pay


cdef inline bint suits_points(const Op* op) noexcept nogil:
    return (op.KH == 1 and op.KW == 1 and not op.pool and op.OH * op.OW >= POINTS
            and op.C // op.groups >= MIN_PRODUCT and op.O // op.groups >= MIN_PRODUCT)


cdef Py_ssize_t points_floats(const Op* op) noexcept nogil:
    """Return scratch for the filters of a group, the places, and results if the gradient has gaps."""
    cdef Py_ssize_t channels = op.C // op.groups, outputs = op.O // op.groups
    if not suits_points(op):
        return 0
    return channels * outputs + (channels + max(channels, outputs)) * POINTS * LANES


cdef inline Py_ssize_t point_of(const Op* op, Py_ssize_t place) noexcept nogil:
    """Return the offset in x of the input of an output."""
    return (place // op.OW * op.SH * op.W + place % op.OW * op.SW) * LANES


cdef Op points_view(const Op* op, Py_ssize_t inputs, Py_ssize_t outputs) noexcept nogil:
    """Return the product as a convolution of POINTS places in one row."""
    cdef Op view = op[0]
    view.groups, view.C, view.O = 1, inputs, outputs
    view.H, view.OH, view.W, view.OW = 1, 1, POINTS, POINTS
    view.SH, view.SW = 1, 1
    return view


cdef inline Py_ssize_t points_block(Py_ssize_t outputs, Py_ssize_t first) noexcept nogil:
    """Return the size of the block of outputs from `first` on: blocks are of nearly equal size."""
    cdef Py_ssize_t blocks = (outputs - first + MAX_OUTPUTS - 1) // MAX_OUTPUTS
    return (outputs - first + blocks - 1) // blocks


cdef void pack_points(const float* weight, Py_ssize_t inputs, Py_ssize_t outputs,
                      Py_ssize_t next_input, Py_ssize_t next_output, float* filters) noexcept nogil:
    """Lay out the filters block by block: (inputs, outputs of the block) each."""
    cdef Py_ssize_t first = 0, c, i, size
    while first < outputs:
        size = points_block(outputs, first)
        for c in range(inputs):
            for i in range(size):
                filters[i] = weight[(first + i) * next_output + c * next_input]
            filters += size
        first += size


cdef void points_product(const Op* view, const float* x, const float* filters, const float* bias,
                         float* y, Py_ssize_t y_plane) noexcept nogil:
    """All outputs of the places in x."""
    cdef Py_ssize_t first = 0, size
    while first < view.O:
        size = points_block(view.O, first)
        if size == 6:
            conv2d_row(view, x, filters, bias, y, y_plane, 6, 4 if NV_REGISTERS == 32 else 2)
        elif size == 5:
            conv2d_row(view, x, filters, bias, y, y_plane, 5, 4 if NV_REGISTERS == 32 else 2)
        elif size == 4:
            conv2d_row(view, x, filters, bias, y, y_plane, 4, 4 if NV_REGISTERS == 32 else 2)
        elif size == 3:
            conv2d_row(view, x, filters, bias, y, y_plane, 3, 4)
        elif size == 2:
            conv2d_row(view, x, filters, bias, y, y_plane, 2, 4)
        else:
            conv2d_row(view, x, filters, bias, y, y_plane, 1, 8)
        filters += size * view.C
        bias += size
        y += size * y_plane
        first += size


cdef void points_forward(const Op* op, const float* x, const float* weight, const float* bias,
                         float* y, float* scratch) noexcept nogil:
    """One group; the last places are moved back inside."""
    cdef Py_ssize_t channels = op.C // op.groups, outputs = op.O // op.groups
    cdef Py_ssize_t places = op.OH * op.OW
    cdef Py_ssize_t n, first, c, j
    cdef Op view = points_view(op, channels, outputs)
    cdef float* columns = scratch + channels * outputs
    cdef float* to
    cdef const float* plane
    pack_points(weight, channels, outputs, 1, channels, scratch)
    for n in range((places + POINTS - 1) // POINTS):
        first = min(n * POINTS, places - POINTS)
        to, plane = columns, x
        for c in range(channels):
            for j in range(POINTS):
                v16_store(to, v16_load(plane + point_of(op, first + j)))
                to += LANES
            plane += op.H * op.W * LANES
        points_product(&view, columns, scratch, bias, y + first * LANES, places * LANES)


cdef void points_dx(const Op* op, const float* weight, const float* dy, float* dx,
                    float* scratch) noexcept nogil:
    """One group; with strides, zeros between the places."""
    cdef Py_ssize_t channels = op.C // op.groups, outputs = op.O // op.groups
    cdef Py_ssize_t places = op.OH * op.OW, planes = op.H * op.W * LANES
    cdef Py_ssize_t n, first, c, o, j
    cdef bint spread = op.H * op.W != places
    cdef Op view = points_view(op, outputs, channels)
    cdef float* columns = scratch + channels * outputs
    cdef float* found = columns + outputs * POINTS * LANES
    view.relu, view.has_bias = False, False
    pack_points(weight, outputs, channels, channels, 1, scratch)
    if spread:
        memset(dx, 0, channels * planes * sizeof(float))
    for n in range((places + POINTS - 1) // POINTS):
        first = min(n * POINTS, places - POINTS)
        for o in range(outputs):
            memcpy(columns + o * POINTS * LANES, dy + (o * places + first) * LANES,
                   POINTS * LANES * sizeof(float))
        if not spread:
            points_product(&view, columns, scratch, dy, dx + first * LANES, planes)
            continue
        points_product(&view, columns, scratch, dy, found, POINTS * LANES)
        for c in range(channels):
            for j in range(POINTS):
                v16_store(dx + c * planes + point_of(op, first + j),
                          v16_load(found + (c * POINTS + j) * LANES))
