# Changes of the pixels of a distorted sample: colors, erasing, mixing; see datasets/distortion.py.
#
#   colors:  z = saturation * rotated(x) + (1 - saturation) * gray(x)        of three channels
#            y = brightness * (contrast * z + (1 - contrast) * mean of gray(x)), within 0 and 255
#            gray(x) = 0.299 red + 0.587 green + 0.114 blue; of other channels, z = x
#            rotated(x): by the hue about the axis of grays, then as gray as before
#   erasing: random bytes in a rectangle
#   mixing:  y = share * x + (1 - share) * other
#
# The factors are computed in double, pixels in float with 16 side by side.

cdef enum:
    SUM_VECTORS = 64      # summed in float; their sums in double


cdef inline double gray_share(Py_ssize_t channel) noexcept nogil:
    """Return the weights of red, green and blue in gray, by ITU-R BT.601 as in JPEG."""
    return 0.299 if channel == 0 else 0.587 if channel == 1 else 0.114


cdef inline v16 load_up_to(const float* a, Py_ssize_t count) noexcept nogil:
    """16 floats, or the first `count` of them if there are fewer, and zeros."""
    return v16_load(a) if count >= LANES else load_some(a, count)


cdef inline void store_up_to(float* to, Py_ssize_t count, v16 a) noexcept nogil:
    """16 floats, or the first `count` of them if there are fewer."""
    if count >= LANES:
        v16_store(to, a)
    else:
        store_some(to, count, a)


cdef double mean_of(const float* values, Py_ssize_t count) noexcept nogil:
    cdef double total = 0
    cdef Py_ssize_t block, blocks = round_up(count) // LANES
    cdef v16 part = v16_zero()
    for block in range(blocks):
        part = v16_add(part, load_up_to(values + block * LANES, count - block * LANES))
        if block % SUM_VECTORS == SUM_VECTORS - 1 or block == blocks - 1:
            total += v16_reduce(part)
            part = v16_zero()
    return total / <double>count


cdef void scale_values(float* values, Py_ssize_t count, float factor, float add) noexcept nogil:
    """values = factor * values + add, within 0 and 255."""
    cdef Py_ssize_t block, i
    cdef v16 a
    for block in range(round_up(count) // LANES):
        i = block * LANES
        a = v16_fma(v16_set1(factor), load_up_to(values + i, count - i), v16_set1(add))
        store_up_to(values + i, count - i, clamp(a, 255))


cdef void draw_mixture(const Distort* d, uint64_t key, double factor,
                       float* mixture) noexcept nogil:
    """mixture (3, 3) = factor * (saturation * rotated + (1 - saturation) * gray)."""
    cdef double saturation = 1 + draw_signed(key, DRAW_SATURATION, d.saturation)
    cdef double sine, cosine, gray
    cdef double rotated[9]
    cdef Py_ssize_t i, j
    sine_cosine(draw_signed(key, DRAW_HUE, d.hue), &sine, &cosine)
    if draw_share(key, DRAW_GRAYSCALE) < d.grayscale:
        saturation = 0
    sine *= 0.57735026918962576  # 1 / sqrt(3): the axis of grays has the direction (1, 1, 1)
    for i in range(3):
        for j in range(3):
            rotated[3 * i + j] = (1 - cosine) / 3
        rotated[3 * i + i] += cosine
        rotated[3 * i + (i + 1) % 3] -= sine
        rotated[3 * i + (i + 2) % 3] += sine
    for j in range(3):
        gray = gray_share(j)
        for i in range(3):
            gray -= gray_share(i) * rotated[3 * i + j]
        for i in range(3):
            mixture[3 * i + j] = <float>(factor * (saturation * (rotated[3 * i + j] + gray)
                                                   + (1 - saturation) * gray_share(j)))


cdef void mix_channels(float* image, Py_ssize_t size, const float* mixture,
                       float add) noexcept nogil:
    """image (3, size) = mixture (3, 3) image + add."""
    cdef Py_ssize_t block, i, c
    cdef v16 channel[3]
    cdef v16 total
    for block in range(round_up(size) // LANES):
        i = block * LANES
        for c in range(3):
            channel[c] = load_up_to(image + c * size + i, size - i)
        for c in range(3):
            total = v16_fma(v16_set1(mixture[3 * c]), channel[0], v16_set1(add))
            total = v16_fma(v16_set1(mixture[3 * c + 1]), channel[1], total)
            total = v16_fma(v16_set1(mixture[3 * c + 2]), channel[2], total)
            store_up_to(image + c * size + i, size - i, clamp(total, 255))


cdef void change_colors(const Distort* d, uint64_t key, float* image) noexcept nogil:
    cdef Py_ssize_t c, size = d.H * d.W
    cdef double brightness = 1 + draw_signed(key, DRAW_BRIGHTNESS, d.brightness)
    cdef double contrast = 1 + draw_signed(key, DRAW_CONTRAST, d.contrast)
    cdef double mean = 0
    cdef float mixture[9]
    if d.contrast != 0:
        for c in range(d.C):
            mean += (gray_share(c) if d.C == 3 else 1. / <double>d.C) * mean_of(image + c * size,
                                                                                size)
    mean *= brightness * (1 - contrast)
    if d.C == 3:
        draw_mixture(d, key, brightness * contrast, mixture)
        mix_channels(image, size, mixture, <float>mean)
    else:
        scale_values(image, d.C * size, <float>(brightness * contrast), <float>mean)


cdef inline Py_ssize_t whole_side(double side, Py_ssize_t most) noexcept nogil:
    """A length rounded to pixels of an image."""
    return max(<Py_ssize_t>1, <Py_ssize_t>(min(side, <double>most) + 0.5))


cdef void erase(const Distort* d, uint64_t key, float* image) noexcept nogil:
    """Random bytes in a rectangle of a random area, shape and place (Zhong et al., 2020)."""
    cdef double least = min(d.erasing_least, d.erasing_area)
    cdef double area = least + draw_share(key, DRAW_ERASED_AREA) * (d.erasing_area - least)
    cdef double tilt = draw_signed(key, DRAW_ERASED_SHAPE, 1)
    cdef double ratio = 1 - (1 - d.erasing_ratio) * (tilt if tilt > 0 else -tilt)
    cdef Py_ssize_t height, width, top, left, c, y, x
    cdef uint64_t bits = draw_bits(key, DRAW_ERASED_BYTES)
    cdef uint32_t before = <uint32_t>bits, between = <uint32_t>(bits >> 32)
    cdef uint32_t start
    cdef float* to
    if tilt < 0:
        ratio = 1 / ratio
    area *= <double>d.H * <double>d.W
    height, width = whole_side(sqrt(area * ratio), d.H), whole_side(sqrt(area / ratio), d.W)
    top = draw_whole(key, DRAW_ERASED_DOWN, d.H - height + 1)
    left = draw_whole(key, DRAW_ERASED_RIGHT, d.W - width + 1)
    for c in range(d.C):
        for y in range(top, top + height):
            to = image + (c * d.H + y) * d.W + left
            start = <uint32_t>((c * d.H + y) * d.W + left) + before
            for x in range(width):
                to[x] = <float>(noise_bits(start + <uint32_t>x, between) >> 24)


cdef void change_pixels(const Distort* d, uint64_t key, float* image) noexcept nogil:
    """image (C, H, W) = with other colors, then with a rectangle erased."""
    if d.colors:
        change_colors(d, key, image)
    if draw_share(key, DRAW_ERASING) < d.erasing:
        erase(d, key, image)


cdef double mix_share(const Distort* d, uint64_t key) noexcept nogil:
    """Return the share of a sample in its mixture, interpolated between the quantiles."""
    cdef double place
    cdef Py_ssize_t i
    if not (d.mixes and is_distorted(d, key)):
        return 1
    place = draw_share(key, DRAW_MIXUP) * <double>d.mix_steps
    i = <Py_ssize_t>place
    return d.mix_quantiles[i] + (place - <double>i) * (d.mix_quantiles[i + 1] - d.mix_quantiles[i])


cdef void mix_image(const Distort* d, uint64_t key, const float* other,
                    float* image) noexcept nogil:
    """image = share * image + (1 - share) * other; bit-identical if the share is 1."""
    cdef Py_ssize_t block, i, size = d.C * d.H * d.W
    cdef v16 share = v16_set1(<float>(1 - mix_share(d, key)))
    for block in range(round_up(size) // LANES):
        i = block * LANES
        store_up_to(image + i, size - i, blend(load_up_to(image + i, size - i),
                                               load_up_to(other + i, size - i), share))
