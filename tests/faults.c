/* Loaded in front of the C library: makes the FAULT_AT-th change of a file or folder fail with FAULT_ERRNO, that one
   alone or, with FAULT_STAYS, all that follow. Writes how many changes there were to FAULT_COUNT when the program ends. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

static atomic_long changes;

static long number(const char *name) {
    const char *text = getenv(name);
    return text ? atol(text) : 0;
}

static int fails(void) {
    long now = ++changes, at = number("FAULT_AT");
    if (at == 0 || now < at || (now > at && !number("FAULT_STAYS"))) return 0;
    errno = (int)number("FAULT_ERRNO");
    return 1;
}

static int is_file(int fd) {
    struct stat found;
    return fstat(fd, &found) == 0 && (S_ISREG(found.st_mode) || S_ISDIR(found.st_mode));
}

#define NEXT(type, name) type (*next)() = (type (*)())dlsym(RTLD_NEXT, name)

ssize_t write(int fd, const void *bytes, size_t count) {
    NEXT(ssize_t, "write");
    return is_file(fd) && fails() ? -1 : next(fd, bytes, count);
}

int fsync(int fd) {
    NEXT(int, "fsync");
    return fails() ? -1 : next(fd);
}

int rename(const char *from, const char *to) {
    NEXT(int, "rename");
    return fails() ? -1 : next(from, to);
}

int mkdir(const char *path, mode_t mode) {
    NEXT(int, "mkdir");
    return fails() ? -1 : next(path, mode);
}

int unlinkat(int dir, const char *path, int flags) {
    NEXT(int, "unlinkat");
    return fails() ? -1 : next(dir, path, flags);
}

int ftruncate64(int fd, off64_t length) {
    NEXT(int, "ftruncate64");
    return fails() ? -1 : next(fd, length);
}

int open64(const char *path, int flags, ...) {
    NEXT(int, "open64");
    va_list rest;
    va_start(rest, flags);
    mode_t mode = va_arg(rest, mode_t);
    va_end(rest);
    return (flags & (O_CREAT | O_TRUNC)) && fails() ? -1 : next(path, flags, mode);
}

__attribute__((destructor)) static void report(void) {
    const char *path = getenv("FAULT_COUNT");
    FILE *file = path ? fopen(path, "w") : NULL;
    if (file) {
        fprintf(file, "%ld\n", (long)changes);
        fclose(file);
    }
}
