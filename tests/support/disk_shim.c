/* Preloaded into a process: writes down what it does to the files below DISK_SHIM_DIR, and misbehaves when told to.

   Journal (DISK_SHIM_JOURNAL), one entry after the other, native byte order:
       u8 kind | u64 monotonic ns | u64 offset or length | u32 length of a path | u32 length of data | path | data
   kinds: c create, w write, t truncate, s sync (a file or a directory), u unlink, r rename, l link, m mkdir, d rmdir.
   `data` is what was written, or the second path.

   While the file DISK_SHIM_FAULT.full exists, nothing can grow (ENOSPC); while DISK_SHIM_FAULT.eio exists, writes and
   syncs fail (EIO). Reads at the offset DISK_SHIM_BAD of the file DISK_SHIM_BAD_FILE fail always (EIO). */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define FILES 4096

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static char *paths[FILES];
static const char *directory, *fault, *bad_file;
static off_t bad = -1;
static int journal = -1;

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

__attribute__((constructor)) static void start(void) {
    directory = getenv("DISK_SHIM_DIR");
    fault = getenv("DISK_SHIM_FAULT");
    const char *path = getenv("DISK_SHIM_JOURNAL");
    bad_file = getenv("DISK_SHIM_BAD_FILE");
    if (bad_file) bad = atoll(getenv("DISK_SHIM_BAD"));
    if (directory && path) journal = REAL(open)(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
}

static int ours(const char *path) {
    return directory && path && !strncmp(path, directory, strlen(directory));
}

static const char *path_of(int fd) {
    return fd >= 0 && fd < FILES ? paths[fd] : NULL;
}

static void note(char kind, const char *path, uint64_t offset, const void *data, uint32_t size) {
    struct timespec now;
    if (journal < 0) return;
    clock_gettime(CLOCK_MONOTONIC, &now);
    uint64_t times[2] = { (uint64_t)now.tv_sec * 1000000000u + now.tv_nsec, offset };
    uint32_t sizes[2] = { (uint32_t)strlen(path), size };
    size_t total = 1 + sizeof times + sizeof sizes + sizes[0] + size;
    char *entry = malloc(total), *at = entry;
    *at++ = kind;
    memcpy(at, times, sizeof times), at += sizeof times;
    memcpy(at, sizes, sizeof sizes), at += sizeof sizes;
    memcpy(at, path, sizes[0]), at += sizes[0];
    if (size) memcpy(at, data, size);
    if (REAL(write)(journal, entry, total) != (ssize_t)total) abort();
    free(entry);
}

static int told(const char *what) {
    char name[PATH_MAX];
    if (!fault) return 0;
    snprintf(name, sizeof name, "%s.%s", fault, what);
    return !access(name, F_OK);
}

static int refused(int fd, uint64_t end) {
    struct stat status;
    if (told("eio")) return errno = EIO;
    if (told("full") && !fstat(fd, &status) && end > (uint64_t)status.st_size) return errno = ENOSPC;
    return 0;
}

static int opened(const char *path, int flags, mode_t mode) {
    int fresh = (flags & O_CREAT) && access(path, F_OK);
    if (fresh && told("full")) return errno = ENOSPC, -1;
    int fd = REAL(open)(path, flags, mode);
    if (fd < 0 || fd >= FILES) return fd;
    free(paths[fd]);
    paths[fd] = strdup(path);
    if (fresh) note('c', path, 0, NULL, 0);
    if (flags & O_TRUNC) note('t', path, 0, NULL, 0);
    return fd;
}

#define OPEN(name)                                                   \
    int name(const char *path, int flags, ...) {                     \
        va_list rest;                                                \
        va_start(rest, flags);                                       \
        mode_t mode = flags & O_CREAT ? va_arg(rest, mode_t) : 0;    \
        va_end(rest);                                                \
        if (!ours(path)) return REAL(name)(path, flags, mode);       \
        pthread_mutex_lock(&lock);                                   \
        int fd = opened(path, flags, mode);                          \
        pthread_mutex_unlock(&lock);                                 \
        return fd;                                                   \
    }
OPEN(open)
OPEN(open64)

int close(int fd) {
    if (path_of(fd)) {
        pthread_mutex_lock(&lock);
        free(paths[fd]);
        paths[fd] = NULL;
        pthread_mutex_unlock(&lock);
    }
    return REAL(close)(fd);
}

static ssize_t written(int fd, const void *data, size_t size, off_t offset, int moves) {
    pthread_mutex_lock(&lock);
    if (moves) offset = lseek(fd, 0, SEEK_CUR);
    ssize_t done = -1;
    if (!refused(fd, (uint64_t)offset + size))
        done = moves ? REAL(write)(fd, data, size) : REAL(pwrite)(fd, data, size, offset);
    if (done > 0) note('w', paths[fd], (uint64_t)offset, data, (uint32_t)done);
    pthread_mutex_unlock(&lock);
    return done;
}

ssize_t write(int fd, const void *data, size_t size) {
    return path_of(fd) ? written(fd, data, size, 0, 1) : REAL(write)(fd, data, size);
}
ssize_t pwrite(int fd, const void *data, size_t size, off_t offset) {
    return path_of(fd) ? written(fd, data, size, offset, 0) : REAL(pwrite)(fd, data, size, offset);
}
ssize_t pwrite64(int fd, const void *data, size_t size, off64_t offset) {
    return path_of(fd) ? written(fd, data, size, offset, 0) : REAL(pwrite)(fd, data, size, offset);
}

static ssize_t have_read(int fd, void *data, size_t size, off_t offset) {
    if (bad_file && path_of(fd) && bad >= offset && bad < offset + (off_t)size && !strcmp(paths[fd], bad_file))
        return errno = EIO, -1;
    return REAL(pread)(fd, data, size, offset);
}
ssize_t pread(int fd, void *data, size_t size, off_t offset) { return have_read(fd, data, size, offset); }
ssize_t pread64(int fd, void *data, size_t size, off64_t offset) { return have_read(fd, data, size, offset); }

static int cut(int fd, off_t length) {
    pthread_mutex_lock(&lock);
    int result = refused(fd, (uint64_t)length) ? -1 : REAL(ftruncate)(fd, length);
    if (!result) note('t', paths[fd], (uint64_t)length, NULL, 0);
    pthread_mutex_unlock(&lock);
    return result;
}
int ftruncate(int fd, off_t length) {
    return path_of(fd) ? cut(fd, length) : REAL(ftruncate)(fd, length);
}
int ftruncate64(int fd, off64_t length) {
    return path_of(fd) ? cut(fd, length) : REAL(ftruncate)(fd, length);
}

static int synced(int fd) {
    pthread_mutex_lock(&lock);
    int result = told("eio") ? (errno = EIO, -1) : REAL(fsync)(fd);
    if (!result) note('s', paths[fd], 0, NULL, 0);
    pthread_mutex_unlock(&lock);
    return result;
}
int fsync(int fd) {
    return path_of(fd) ? synced(fd) : REAL(fsync)(fd);
}
int fdatasync(int fd) {
    return path_of(fd) ? synced(fd) : REAL(fdatasync)(fd);
}

#define ONE_PATH(name, kind, parameters, arguments)                  \
    int name parameters {                                            \
        if (!ours(path)) return REAL(name) arguments;                \
        pthread_mutex_lock(&lock);                                   \
        int result = REAL(name) arguments;                           \
        if (!result) note(kind, path, 0, NULL, 0);                   \
        pthread_mutex_unlock(&lock);                                 \
        return result;                                               \
    }
ONE_PATH(unlink, 'u', (const char *path), (path))
ONE_PATH(rmdir, 'd', (const char *path), (path))
ONE_PATH(mkdir, 'm', (const char *path, mode_t mode), (path, mode))

#define TWO_PATHS(name, kind)                                        \
    int name(const char *path, const char *other) {                  \
        if (!ours(path)) return REAL(name)(path, other);             \
        pthread_mutex_lock(&lock);                                   \
        int result = REAL(name)(path, other);                        \
        if (!result) note(kind, path, 0, other, strlen(other));      \
        pthread_mutex_unlock(&lock);                                 \
        return result;                                               \
    }
TWO_PATHS(rename, 'r')
TWO_PATHS(link, 'l')
