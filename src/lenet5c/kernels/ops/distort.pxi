# Distortion: a random warp of a sample of bytes, different in each epoch, and the changes of
# pixels.pxi; see datasets/distortion.py.
#
#   out[c, y, x] = image[c, v, u], bilinear between pixels
#   (u, v) = center + M ((x, y) - center - t) + elastic * (field_u, field_v)[y, x]
#   M = the inverse of: scaling and squeezing along the axes, then shear, then rotation
#   flips: u -> W - 1 - u, v -> H - 1 - v
#   a crop: (u, v) -> corner + side * (u, v), between the edges of the pixels at both ends
#   outside the image: 0, the nearest pixel, or the image mirrored once at its outermost pixels
#
# A field is uniform noise, independent from pixel to pixel, smoothed by a Gaussian, with zeros
# outside the image.
#
# Every random number is a hash of the sample's key and the number of the draw, independent of the
# order of draws and of threads. M is computed in double without the C library but for square roots,
# which are exact; positions and values in float with 16 pixels side by side: the fused
# multiply-adds are those that the source names.

cdef enum Draw:
    DRAW_WHETHER, DRAW_FLIP, DRAW_RIGHT, DRAW_DOWN, DRAW_SCALING, DRAW_SQUEEZE, DRAW_SHEAR
    DRAW_ROTATION, DRAW_FIELDS, DRAW_FLIP_VERTICAL, DRAW_PADDED_RIGHT, DRAW_PADDED_DOWN
    DRAW_CROP, DRAW_CROP_RIGHT, DRAW_CROP_DOWN
    DRAW_BRIGHTNESS, DRAW_CONTRAST, DRAW_SATURATION, DRAW_HUE, DRAW_GRAYSCALE
    DRAW_ERASING, DRAW_ERASED_AREA, DRAW_ERASED_SHAPE, DRAW_ERASED_RIGHT, DRAW_ERASED_DOWN
    DRAW_ERASED_BYTES, DRAW_MIXUP

# u = uu * (x - center) + uv * (y - center) + u0, likewise v
cdef struct InverseMap:
    double uu, uv, u0
    double vu, vv, v0


cdef inline uint64_t draw_bits(uint64_t key, Draw draw) noexcept nogil:
    return hash_bits(key + (<uint64_t>draw + 1) * 0x9e3779b97f4a7c15ULL)


cdef inline double draw_share(uint64_t key, Draw draw) noexcept nogil:
    """Uniform in [0, 1)."""
    return <double>(draw_bits(key, draw) >> 11) * (1.0 / 9007199254740992.0)


cdef inline double draw_signed(uint64_t key, Draw draw, double most) noexcept nogil:
    """Uniform in [-most, most)."""
    return (2 * draw_share(key, draw) - 1) * most


cdef inline Py_ssize_t draw_whole(uint64_t key, Draw draw, Py_ssize_t count) noexcept nogil:
    """Uniform in 0 .. count - 1."""
    return min(<Py_ssize_t>(draw_share(key, draw) * <double>count), count - 1)


cdef inline uint32_t noise_bits(uint32_t n, uint32_t between) noexcept nogil:
    """Return a hash of both, 32 bits."""
    n = (n ^ (n >> 16)) * 0x7feb352dU
    n = ((n ^ (n >> 15)) + between) * 0x846ca68bU
    return n ^ (n >> 16)


cdef void sine_cosine(double angle, double* sine, double* cosine) noexcept nogil:
    """For -pi to pi, by Taylor's series: within some 4e-15, the same on every machine."""
    cdef double square = angle * angle, s = 1, c = 1
    cdef int n
    for n in range(26, 0, -2):
        s = 1 - square / (n * (n + 1)) * s
        c = 1 - square / (n * (n - 1)) * c
    sine[0], cosine[0] = angle * s, c


cdef void draw_map(const Distort* d, uint64_t key, InverseMap* m) noexcept nogil:
    cdef double right = draw_signed(key, DRAW_RIGHT, d.translation)
    cdef double down = draw_signed(key, DRAW_DOWN, d.translation)
    cdef double scale = 1 + draw_signed(key, DRAW_SCALING, d.scaling)
    cdef double squeeze = 1 + draw_signed(key, DRAW_SQUEEZE, d.squeeze)
    cdef double shear = draw_signed(key, DRAW_SHEAR, d.shear)
    cdef double sine, cosine
    if d.crop_padding > 0:
        right += draw_whole(key, DRAW_PADDED_RIGHT, 2 * d.crop_padding + 1) - d.crop_padding
        down += draw_whole(key, DRAW_PADDED_DOWN, 2 * d.crop_padding + 1) - d.crop_padding
    sine_cosine(draw_signed(key, DRAW_ROTATION, d.rotation), &sine, &cosine)
    # Rotated back, sheared back, then divided by the factors of x and y.
    m.uu = (cosine + shear * sine) / (scale * squeeze)
    m.uv = (sine - shear * cosine) / (scale * squeeze)
    m.vu = -sine * squeeze / scale
    m.vv = cosine * squeeze / scale
    m.u0 = -(m.uu * right + m.uv * down)
    m.v0 = -(m.vu * right + m.vv * down)
    if draw_share(key, DRAW_FLIP) < d.flip:
        m.uu, m.uv, m.u0 = -m.uu, -m.uv, -m.u0
    if draw_share(key, DRAW_FLIP_VERTICAL) < d.flip_vertical:
        m.vu, m.vv, m.v0 = -m.vu, -m.vv, -m.v0
    m.u0 += 0.5 * <double>(d.W - 1)
    m.v0 += 0.5 * <double>(d.H - 1)
    if d.crop != 0:
        draw_crop(d, key, m)


cdef void draw_crop(const Distort* d, uint64_t key, InverseMap* m) noexcept nogil:
    """From a map to all of the image to one to a window of it, of the same form."""
    cdef double side = sqrt(1 - d.crop * draw_share(key, DRAW_CROP))
    cdef double left = (1 - side) * <double>d.W * draw_share(key, DRAW_CROP_RIGHT)
    cdef double top = (1 - side) * <double>d.H * draw_share(key, DRAW_CROP_DOWN)
    m.uu, m.uv, m.u0 = side * m.uu, side * m.uv, side * (m.u0 + 0.5) + left - 0.5
    m.vu, m.vv, m.v0 = side * m.vu, side * m.vv, side * (m.v0 + 0.5) + top - 0.5


cdef inline Py_ssize_t whole_vectors(Py_ssize_t floats) noexcept nogil:
    return (floats + LANES - 1) // LANES * LANES


cdef void draw_noise(const Distort* d, uint64_t key, float* noise) noexcept nogil:
    """noise (H, 2, width of whole vectors), uniform in [-1, 1) for u and v."""
    cdef uint64_t bits = draw_bits(key, DRAW_FIELDS)
    cdef uint32_t before = <uint32_t>bits, between = <uint32_t>(bits >> 32)
    cdef uint32_t x, n, W = <uint32_t>d.W, start
    cdef Py_ssize_t row
    cdef float* to
    for row in range(2 * d.H):
        to = noise + row * whole_vectors(d.W)
        start = <uint32_t>(row * d.W) + before
        for x in range(W):
            n = noise_bits(start + x, between)
            to[x] = <float><int32_t>(n >> 8) * <float>(1.0 / 8388608.0) - <float>1


cdef inline void four_rows(const float* a, Py_ssize_t a_row, const float* b, Py_ssize_t b_step,
                           Py_ssize_t terms, float* out, Py_ssize_t out_row) noexcept nogil:
    """16 columns of four rows of a matrix product.

    out[i, lane] = sum over k of a[i * a_row + k] * b[k * b_step + lane].
    """
    cdef v16 total[4]
    cdef v16 column
    cdef Py_ssize_t k
    cdef int i
    for i in range(4):
        total[i] = v16_zero()
    for k in range(terms):
        column = v16_load(b + k * b_step)
        for i in range(4):
            total[i] = v16_fma(v16_set1(a[i * a_row + k]), column, total[i])
    for i in range(4):
        v16_store(out + i * out_row, total[i])


cdef void smooth_rows(const Distort* d, Py_ssize_t y, const float* noise, const float* weights,
                      float* sums, float* field) noexcept nogil:
    """field (4, 2, width) = rows y .. y + 3 of the smoothed fields; sums, as large, takes those
    over columns.

    weights points to the middle of the Gaussian, which has 16 zeros on either side.
    """
    cdef Py_ssize_t block
    cdef Py_ssize_t width = whole_vectors(d.W), two = 2 * width, first, stop, x, axis
    first, stop = max(<Py_ssize_t>0, y - d.radius), min(d.H, y + 4 + d.radius)
    for block in range(round_up(two) // LANES):
        x = block * LANES
        four_rows(weights + first - y, -1, noise + first * two + x, two, stop - first, sums + x,
                  two)
    for axis in range(2):
        for block in range(round_up(d.W) // LANES):
            x = block * LANES
            first, stop = max(<Py_ssize_t>0, x - d.radius), min(d.W, x + LANES + d.radius)
            four_rows(sums + axis * width + first, two, weights + x - first, -1, stop - first,
                      field + axis * width + x, two)


cdef void gather_squares(const Distort* d, const unsigned char* image, unsigned char* framed,
                         uint32_t* squares) noexcept nogil:
    """squares (C, H + 2, W + 2): the four pixels about each point between pixels, a byte each: one
    look-up does.

    The first square is the one whose last pixel is the image's first: around the image, all is 0,
    or as the nearest pixel.
    """
    cdef Py_ssize_t c, y, x, wide = d.W + 3
    cdef const unsigned char* top
    cdef const unsigned char* bottom
    cdef uint32_t* to
    memset(framed, 0, (d.H + 3) * wide)
    for c in range(d.C):
        for y in range(d.H):
            memcpy(framed + (y + 1) * wide + 1, image + (c * d.H + y) * d.W, d.W)
        if d.outside != OUTSIDE_BLACK:
            extend_edges(d, framed)
        for y in range(d.H + 2):
            top, bottom = framed + y * wide, framed + (y + 1) * wide
            to = squares + (c * (d.H + 2) + y) * (d.W + 2)
            for x in range(d.W + 2):
                to[x] = (<uint32_t>top[x] | <uint32_t>top[x + 1] << 8
                         | <uint32_t>bottom[x] << 16 | <uint32_t>bottom[x + 1] << 24)


cdef void extend_edges(const Distort* d, unsigned char* framed) noexcept nogil:
    """Fill the frame of an image with its outermost pixels."""
    cdef Py_ssize_t y, wide = d.W + 3
    cdef unsigned char* row
    for y in range(1, d.H + 1):
        row = framed + y * wide
        row[0], row[d.W + 1], row[d.W + 2] = row[1], row[d.W], row[d.W]
    memcpy(framed, framed + wide, wide)
    memcpy(framed + (d.H + 1) * wide, framed + d.H * wide, wide)
    memcpy(framed + (d.H + 2) * wide, framed + d.H * wide, wide)


cdef inline v16 size_of(v16 a) noexcept nogil:
    return v16_max(a, v16_sub(v16_zero(), a))


cdef inline v16 mirror(v16 a, float first, float last) noexcept nogil:
    """a, once mirrored at `first` where it is less, then at `last` where it is more."""
    a = v16_add(v16_set1(first), size_of(v16_sub(a, v16_set1(first))))
    return v16_sub(v16_set1(last), size_of(v16_sub(v16_set1(last), a)))


cdef inline v16 clamp(v16 a, float most) noexcept nogil:
    """a within 0 and most."""
    a = v16_max(a, v16_zero())
    return v16_where_lt(a, v16_set1(most), a, v16_set1(most))


cdef inline v16 whole_part(v16 a) noexcept nogil:
    """Return a truncated to an integer, for 0 <= a < 2^23."""
    # floats of this size are integers: rounds to the nearest
    cdef v16 big = v16_set1(<float>8388608.0)
    cdef v16 nearest = v16_sub(v16_add(a, big), big)
    return v16_where_lt(a, nearest, v16_sub(nearest, v16_set1(1)), nearest)


cdef inline v16 blend(v16 a, v16 b, v16 share) noexcept nogil:
    return v16_fma(share, v16_sub(b, a), a)


cdef inline v16 value_at(const uint32_t* squares, const int32_t* at, v16 right,
                         v16 down) noexcept nogil:
    """16 values, each from its square, `right` and `down` of the square's first pixel."""
    cdef uint32_t four[LANES]
    v16_gather(four, squares, at)
    return blend(blend(v16_load_byte_of(four, 0), v16_load_byte_of(four, 8), right),
                 blend(v16_load_byte_of(four, 16), v16_load_byte_of(four, 24), right), down)


cdef void warp_row(const Distort* d, const InverseMap* m, Py_ssize_t y, const float* field,
                   const uint32_t* squares, float* out) noexcept nogil:
    """Row y of out (C, H, W); field is NULL where nothing is elastic."""
    cdef Py_ssize_t block
    cdef double down = y - 0.5 * <double>(d.H - 1)
    # One more, as squares begin one pixel before the image.
    cdef v16 u0 = v16_set1(<float>(m.uv * down + m.u0 + 1))
    cdef v16 v0 = v16_set1(<float>(m.vv * down + m.v0 + 1))
    cdef v16 uu = v16_set1(<float>m.uu), vu = v16_set1(<float>m.vu), right, u, v, value
    cdef float places[LANES]
    cdef v16 column, row, wide = v16_set1(<float>(d.W + 2))
    cdef float last[LANES]
    cdef int32_t at[LANES]
    cdef int i
    cdef Py_ssize_t x, c
    cdef float* to
    for i in range(LANES):
        places[i] = <float>i - <float>0.5 * <float>(d.W - 1)
    for block in range(round_up(d.W) // LANES):
        x = block * LANES
        right = v16_add(v16_load(places), v16_set1(<float>x))
        u = v16_fma(uu, right, u0)
        v = v16_fma(vu, right, v0)
        if field is not NULL:
            u = v16_fma(v16_set1(d.elastic), v16_load(field + x), u)
            v = v16_fma(v16_set1(d.elastic), v16_load(field + whole_vectors(d.W) + x), v)
        if d.outside == OUTSIDE_REFLECTED:
            # Pixels of a frame are counted from 1.
            u = mirror(u, 1, <float>d.W)
            v = mirror(v, 1, <float>d.H)
        u = clamp(u, <float>(d.W + 1))
        v = clamp(v, <float>(d.H + 1))
        column = whole_part(u)
        row = whole_part(v)
        v16_store_whole(at, v16_add(v16_mul(row, wide), column))
        for c in range(d.C):
            to = out + (c * d.H + y) * d.W + x
            value = value_at(squares + c * (d.H + 2) * (d.W + 2), at, v16_sub(u, column),
                             v16_sub(v, row))
            if x + LANES <= d.W:
                v16_store(to, value)
            else:
                v16_store(last, value)
                memcpy(to, last, (d.W - x) * sizeof(float))


cdef Py_ssize_t warp_floats(const Distort* d) noexcept nogil:
    """Scratch of warp_sample, as it lays it out: squares of pixels, noise, four rows of sums and of
    fields, the Gaussian between zeros."""
    return (round_up(d.C * (d.H + 2) * (d.W + 2)) + (d.H + 10) * 2 * round_up(d.W)
            + round_up(2 * d.radius + 1 + 2 * LANES))


cdef void warp_sample(const Distort* d, const unsigned char* image, uint64_t key, float* out,
                      float* scratch) noexcept nogil:
    """out (C, H, W) = the warped image in gray levels; scratch of warp_floats."""
    cdef Py_ssize_t y, row = 2 * whole_vectors(d.W)
    cdef InverseMap m
    cdef uint32_t* squares = <uint32_t*>scratch
    cdef float* noise = scratch + whole_vectors(d.C * (d.H + 2) * (d.W + 2))
    cdef float* sums = noise + (d.H + 2) * row
    cdef float* field = sums + 4 * row
    cdef float* weights = field + 4 * row + LANES
    draw_map(d, key, &m)
    # The framed image is no longer needed when the noise is drawn.
    gather_squares(d, image, <unsigned char*>noise, squares)
    if d.elastic != 0:
        draw_noise(d, key, noise)
        memset(weights - LANES, 0, LANES * sizeof(float))
        memcpy(weights, d.gaussian, (2 * d.radius + 1) * sizeof(float))
        memset(weights + 2 * d.radius + 1, 0, LANES * sizeof(float))
    for y in range(d.H):
        if d.elastic != 0 and y % 4 == 0:
            smooth_rows(d, y, noise, weights + d.radius, sums, field)
        warp_row(d, &m, y, field + y % 4 * row if d.elastic != 0 else NULL, squares, out)


cdef inline bint is_distorted(const Distort* d, uint64_t key) noexcept nogil:
    return draw_share(key, DRAW_WHETHER) < d.probability


cdef void distort_one(const Distort* d, const unsigned char* image, uint64_t key, float* out,
                      float* scratch) noexcept nogil:
    """out (C, H, W) = the distorted image, not mixed yet."""
    cdef Py_ssize_t q
    if is_distorted(d, key) and d.warps:
        warp_sample(d, image, key, out, scratch)
    else:
        for q in range(d.C * d.H * d.W):
            out[q] = <float>image[q]
    if is_distorted(d, key):
        change_pixels(d, key, out)


cdef Py_ssize_t distort_floats(const Distort* d) noexcept nogil:
    """Return the scratch of distort_sample: a warp, and the image to mix with."""
    return warp_floats(d) + (round_up(d.C * d.H * d.W) if d.mixes else 0)


cdef void distort_sample(const Distort* d, const unsigned char** images, const uint64_t* keys,
                         float* out, float* scratch) noexcept nogil:
    """out (C, H, W) = the distorted image in gray levels; scratch of distort_floats."""
    cdef float* other = scratch + warp_floats(d)
    distort_one(d, images[0], keys[0], out, scratch)
    if d.mixes:
        distort_one(d, images[1], keys[1], other, scratch)
        mix_image(d, keys[0], other, out)


cdef Py_ssize_t distort_tile_floats(const Distort* d) noexcept nogil:
    return warp_floats(d) + round_up(d.C * d.H * d.W) * (LANES + (1 if d.mixes else 0))


cdef void distort_tile(const Distort* d, const unsigned char** images, const uint64_t* keys,
                       Py_ssize_t lanes, float scale, const float* offset, float* tile,
                       float* scratch) noexcept nogil:
    """tile (C, H, W, 16) = distorted * scale + offset, rounded twice as by pack_bytes."""
    cdef const float* rows[LANES]
    cdef Py_ssize_t lane, q, size = d.C * d.H * d.W, row = whole_vectors(size)
    cdef float* planes = scratch + warp_floats(d)
    for lane in range(LANES):
        rows[lane] = planes + (lane if lane < lanes else 0) * row
    for lane in range(lanes + (1 if d.mixes else 0)):
        distort_one(d, images[lane], keys[lane], planes + lane * row, scratch)
    if d.mixes:
        # From the first on: each is mixed with one that is not mixed yet.
        for lane in range(lanes):
            mix_image(d, keys[lane], planes + (lane + 1) * row, planes + lane * row)
    pack_floats(rows, size, tile)
    for q in range(size):
        v16_store(tile + q * LANES,
                  v16_add(v16_mul(v16_load(tile + q * LANES), v16_set1(scale)),
                          v16_set1(offset[q])))
