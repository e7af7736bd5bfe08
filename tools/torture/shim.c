/* File operations that fail on purpose, for LD_PRELOAD (Linux).

   Counts the operations on paths under TORTURE_FOLDER and on descriptors opened there, from
   torture_begin() on, and writes "NAME PATH\n" of each to the file TORTURE_LOG. At operation number
   TORTURE_AT (from 1) it does TORTURE_FAULT:

     kill-before, kill-after   SIGKILL
     torn                      writes half of it, then SIGKILL
     short                     reads or writes half of it
     full                      ENOSPC, and so for every later operation that needs space
     readonly                  EROFS, likewise for every later operation that changes anything
     NUMBER                    this errno, once
*/
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

#define DESCRIPTORS 4096
enum { READS = 0, CHANGES = 1, GROWS = 2 }; /* what an operation does to the disk */
enum { NOTHING, SHORT, AFTER, TORN, FAILED };

static char folder[PATH_MAX];
static size_t folder_length;
static char fault[32];
static long at;
static int log_descriptor = -1;
static atomic_long count;
static char *ours[DESCRIPTORS]; /* path of a descriptor that is counted */

void torture_begin(void) {
    const char *text = getenv("TORTURE_FOLDER");
    if (!text || !*text) return;
    snprintf(folder, sizeof folder, "%s", text);
    text = getenv("TORTURE_FAULT");
    snprintf(fault, sizeof fault, "%s", text ? text : "");
    text = getenv("TORTURE_AT");
    at = text ? atol(text) : 0;
    text = getenv("TORTURE_LOG");
    if (text) {
        int low = syscall(SYS_openat, AT_FDCWD, text, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
        /* Out of the way of the descriptors that a program would get without it. */
        log_descriptor = fcntl(low, F_DUPFD_CLOEXEC, 900);
        syscall(SYS_close, low);
    }
    folder_length = strlen(folder);
}

static void die(void) {
    kill(getpid(), SIGKILL);
    for (;;) pause();
}

/* Writes the absolute path, without links resolved; returns whether it is under the folder. */
static int is_ours(int directory, const char *path, char *whole) {
    if (!folder_length || !path) return 0;
    if (path[0] == '/') {
        snprintf(whole, PATH_MAX, "%s", path);
    } else {
        char link[64], base[PATH_MAX];
        ssize_t length;
        if (directory == AT_FDCWD) {
            length = syscall(SYS_getcwd, base, sizeof base) - 1;
        } else {
            snprintf(link, sizeof link, "/proc/self/fd/%d", directory);
            length = syscall(SYS_readlinkat, AT_FDCWD, link, base, sizeof base - 1);
        }
        if (length < 0) return 0;
        base[length] = 0;
        if (length + strlen(path) + 2 > PATH_MAX) return 0;
        memcpy(whole, base, length);
        whole[length] = '/';
        strcpy(whole + length + 1, path);
    }
    return !strncmp(whole, folder, folder_length) &&
           (whole[folder_length] == '/' || !whole[folder_length]);
}

static const char *path_of(int descriptor) {
    return folder_length && descriptor >= 0 && descriptor < DESCRIPTORS ? ours[descriptor] : NULL;
}

/* Counts an operation; returns what is to happen to it, with errno set if it is to fail. */
static int visit(const char *name, const char *path, int kind) {
    long number = atomic_fetch_add(&count, 1) + 1;
    if (log_descriptor >= 0) {
        char line[PATH_MAX + 32];
        int length = snprintf(line, sizeof line, "%s %s\n", name, path);
        if (length > 0) syscall(SYS_write, log_descriptor, line, (size_t)length);
    }
    if (at <= 0 || number < at) return NOTHING;
    if (!strcmp(fault, "full") || !strcmp(fault, "readonly")) {
        int full = fault[0] == 'f';
        if (kind < (full ? GROWS : CHANGES)) return NOTHING;
        errno = full ? ENOSPC : EROFS;
        return FAILED;
    }
    if (number != at) return NOTHING;
    if (!strcmp(fault, "kill-before")) die();
    if (!strcmp(fault, "kill-after")) return AFTER;
    if (!strcmp(fault, "short")) return SHORT;
    if (!strcmp(fault, "torn")) return TORN;
    errno = atoi(fault);
    return FAILED;
}

#define REAL(name) \
    static __typeof__(&name) real; \
    if (!real) real = (__typeof__(real))dlsym(RTLD_NEXT, #name)

#define FINISH(result) \
    do { \
        __typeof__(result) value = (result); \
        if (what == AFTER || what == TORN) die(); \
        return value; \
    } while (0)

static void opened(int descriptor, const char *whole) {
    if (descriptor >= 0 && descriptor < DESCRIPTORS) {
        free(ours[descriptor]);
        ours[descriptor] = strdup(whole);
    }
}

static int open_kind(int flags, const char *whole) {
    if (flags & O_CREAT) return GROWS;
    return (flags & O_ACCMODE) == O_RDONLY ? READS : CHANGES;
}

#define OPEN(name, parameters, directory, call) \
    int name parameters { \
        REAL(name); \
        mode_t mode = 0; \
        char whole[PATH_MAX]; \
        if (flags & O_CREAT || (flags & O_TMPFILE) == O_TMPFILE) { \
            va_list rest; \
            va_start(rest, flags); \
            mode = va_arg(rest, mode_t); \
            va_end(rest); \
        } \
        if (!is_ours(directory, path, whole)) return real call; \
        int what = visit((flags & O_ACCMODE) == O_RDONLY ? "open" : "open-write", whole, \
                         open_kind(flags, whole)); \
        if (what == FAILED) return -1; \
        int result = real call; \
        opened(result, whole); \
        FINISH(result); \
    }

OPEN(open, (const char *path, int flags, ...), AT_FDCWD, (path, flags, mode))
OPEN(open64, (const char *path, int flags, ...), AT_FDCWD, (path, flags, mode))
OPEN(openat, (int directory, const char *path, int flags, ...), directory,
     (directory, path, flags, mode))
OPEN(openat64, (int directory, const char *path, int flags, ...), directory,
     (directory, path, flags, mode))

int close(int descriptor) {
    REAL(close);
    const char *path = path_of(descriptor);
    if (!path) return real(descriptor);
    int what = visit("close", path, READS);
    int error = errno;
    free(ours[descriptor]);
    ours[descriptor] = NULL;
    int result = real(descriptor); /* Linux closes it even when it reports an error */
    if (what == FAILED) {
        errno = error;
        return -1;
    }
    FINISH(result);
}

/* An operation on a descriptor: PART is the call with half of the bytes. */
#define ON_DESCRIPTOR(type, name, parameters, kind, call, part) \
    type name parameters { \
        REAL(name); \
        const char *path = path_of(descriptor); \
        if (!path) return real call; \
        int what = visit(#name, path, kind); \
        if (what == FAILED) return -1; \
        if (what == SHORT || what == TORN) FINISH(real part); \
        FINISH(real call); \
    }

#define HALF(n) ((n) > 1 ? (n) / 2 : (n))

ON_DESCRIPTOR(ssize_t, read, (int descriptor, void *bytes, size_t n), READS,
              (descriptor, bytes, n), (descriptor, bytes, HALF(n)))
ON_DESCRIPTOR(ssize_t, pread, (int descriptor, void *bytes, size_t n, off_t place), READS,
              (descriptor, bytes, n, place), (descriptor, bytes, HALF(n), place))
ON_DESCRIPTOR(ssize_t, pread64, (int descriptor, void *bytes, size_t n, off64_t place), READS,
              (descriptor, bytes, n, place), (descriptor, bytes, HALF(n), place))
ON_DESCRIPTOR(ssize_t, write, (int descriptor, const void *bytes, size_t n), GROWS,
              (descriptor, bytes, n), (descriptor, bytes, HALF(n)))
ON_DESCRIPTOR(ssize_t, pwrite, (int descriptor, const void *bytes, size_t n, off_t place), GROWS,
              (descriptor, bytes, n, place), (descriptor, bytes, HALF(n), place))
ON_DESCRIPTOR(ssize_t, pwrite64, (int descriptor, const void *bytes, size_t n, off64_t place),
              GROWS, (descriptor, bytes, n, place), (descriptor, bytes, HALF(n), place))
ON_DESCRIPTOR(ssize_t, readv, (int descriptor, const struct iovec *parts, int n), READS,
              (descriptor, parts, n), (descriptor, parts, HALF(n)))
ON_DESCRIPTOR(ssize_t, writev, (int descriptor, const struct iovec *parts, int n), GROWS,
              (descriptor, parts, n), (descriptor, parts, HALF(n)))
ON_DESCRIPTOR(int, fsync, (int descriptor), CHANGES, (descriptor), (descriptor))
ON_DESCRIPTOR(int, fdatasync, (int descriptor), CHANGES, (descriptor), (descriptor))
ON_DESCRIPTOR(int, ftruncate, (int descriptor, off_t size), CHANGES, (descriptor, size),
              (descriptor, size))
ON_DESCRIPTOR(int, ftruncate64, (int descriptor, off64_t size), CHANGES, (descriptor, size),
              (descriptor, size))
ON_DESCRIPTOR(int, flock, (int descriptor, int operation), READS, (descriptor, operation),
              (descriptor, operation))
ON_DESCRIPTOR(int, fchmod, (int descriptor, mode_t mode), CHANGES, (descriptor, mode),
              (descriptor, mode))

/* An operation on a path, or from one path to another. */
#define ON_PATH(name, parameters, directory, path, kind, call) \
    int name parameters { \
        REAL(name); \
        char whole[PATH_MAX]; \
        if (!is_ours(directory, path, whole)) return real call; \
        int what = visit(#name, whole, kind); \
        if (what == FAILED) return -1; \
        FINISH(real call); \
    }

ON_PATH(rename, (const char *from, const char *to), AT_FDCWD, to, GROWS, (from, to))
ON_PATH(renameat, (int a, const char *from, int b, const char *to), b, to, GROWS, (a, from, b, to))
ON_PATH(link, (const char *from, const char *to), AT_FDCWD, to, GROWS, (from, to))
ON_PATH(linkat, (int a, const char *from, int b, const char *to, int flags), b, to, GROWS,
        (a, from, b, to, flags))
ON_PATH(symlink, (const char *from, const char *to), AT_FDCWD, to, GROWS, (from, to))
ON_PATH(unlink, (const char *path), AT_FDCWD, path, CHANGES, (path))
ON_PATH(unlinkat, (int directory, const char *path, int flags), directory, path, CHANGES,
        (directory, path, flags))
ON_PATH(rmdir, (const char *path), AT_FDCWD, path, CHANGES, (path))
ON_PATH(mkdir, (const char *path, mode_t mode), AT_FDCWD, path, GROWS, (path, mode))
ON_PATH(mkdirat, (int directory, const char *path, mode_t mode), directory, path, GROWS,
        (directory, path, mode))
ON_PATH(truncate, (const char *path, off_t size), AT_FDCWD, path, CHANGES, (path, size))
